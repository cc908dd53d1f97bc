"""Where the configuration comes from, and what wins."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.config.adapters import LocalAdapter, WebhookAdapter
from app.config.load import load
from app.errors import ConfigError
from tests.unit.config.conftest import Read

SPECIMEN = """
agents:
  default:
    path: ./agent
    model: openai/gpt-5.4-mini
models:
  fast: {model: openai/gpt-5.4-mini, base_url: "http://127.0.0.1:9000/v1", api_key: "${LOCAL_KEY:-none}"}
database_url: ${DATABASE_URL:-embedded}
redis_url: ${REDIS_URL:-embedded}
adapters:
  - {kind: webhook, name: internal, agent: default, secret: "${HEYFLEET_WEBHOOK_SECRET}"}
http: {host: 127.0.0.1, port: 8000}
scope: channel
runtime: {name: virtual, timeout: 60s, max_concurrent: 12, max_concurrent_per_chat: 1}
task: {busy: steer}
attachments: {max_bytes: 25MB}
messages: {}
drain: 30s
"""


def test_the_defaults_serve_without_a_file(read: Read, tmp_path: Path) -> None:
    loaded = read()
    assert loaded.path is None
    assert loaded.settings.agents["default"].model == "demo/echo"
    assert loaded.settings.adapters == [LocalAdapter(kind="local", name="local")]
    assert loaded.settings.state_dir == tmp_path / ".heyfleet"


def test_the_specimen(read: Read, tmp_path: Path) -> None:
    loaded = read(SPECIMEN, {"HEYFLEET_WEBHOOK_SECRET": "0123", "DATABASE_URL": "postgresql://u:p@h/d"})
    settings = loaded.settings
    assert loaded.path == tmp_path / "heyfleet.yaml"
    assert settings.database_url.get_secret_value() == "postgresql://u:p@h/d"
    assert settings.redis_url.get_secret_value() == "embedded"
    assert settings.models["fast"].api_key == SecretStr("none")
    assert isinstance(settings.adapters[0], WebhookAdapter)
    assert settings.adapters[0].secret == SecretStr("0123")
    assert (settings.runtime.timeout, settings.attachments.max_bytes, settings.drain) == (60.0, 25_000_000, 30.0)


def test_which_file_is_read(tmp_path: Path) -> None:
    for name, port in (("heyfleet.yaml", 1), ("named.yaml", 2), ("given.yaml", 3)):
        (tmp_path / name).write_text(f"http: {{port: {port}}}")
    assert load(None, {}, tmp_path).settings.http.port == 1
    assert load(None, {"HEYFLEET_CONFIG": "named.yaml"}, tmp_path).settings.http.port == 2
    assert load(Path("given.yaml"), {"HEYFLEET_CONFIG": "named.yaml"}, tmp_path).settings.http.port == 3


def test_dotenv_may_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "named.yaml").write_text("http: {port: 2}")
    (tmp_path / ".env").write_text("HEYFLEET_CONFIG=named.yaml\n")
    assert load(None, {}, tmp_path).settings.http.port == 2


@pytest.mark.parametrize(
    ("path", "environ", "who"), [("no.yaml", {}, "--config"), (None, {"HEYFLEET_CONFIG": "no.yaml"}, "HEYFLEET_CONFIG")]
)
def test_a_named_file_must_be_there(tmp_path: Path, path: str | None, environ: dict[str, str], who: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(Path(path) if path else None, environ, tmp_path)
    assert refused.value.problems == [f"no.yaml: there is no such file; correct {who}"]


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEYFLEET_HTTP__PORT", "9000")
    assert load().settings.http.port == 9000


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "fleet.yaml").write_text(
        "agents: {default: {}, ops: {path: ../ops}, home: {path: ~/mine}}\n"
        "state_dir: state\nruntime: {workspace: /srv/work}\n"
    )
    settings = load(Path("etc/fleet.yaml"), {"HOME": "/home/somebody"}, tmp_path).settings
    assert settings.agents["default"].path == folder / "agent"
    assert settings.agents["ops"].path == tmp_path / "ops"
    assert settings.agents["home"].path == Path("/home/somebody/mine")
    assert settings.state_dir == folder / "state"
    assert settings.runtime.workspace == Path("/srv/work")


def test_a_linked_file_is_where_its_link_is(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "heyfleet.yaml").write_text("http: {port: 5}")
    (tmp_path / "heyfleet.yaml").symlink_to(tmp_path / "..data" / "heyfleet.yaml")
    for path in (None, Path("heyfleet.yaml")):
        assert load(path, {}, tmp_path).settings.state_dir == tmp_path / ".heyfleet"


def test_whether_a_path_was_named_is_kept(read: Read) -> None:
    agents = read("agents: {default: {}, ops: {path: ./ops}}").settings.agents
    assert "path" not in agents["default"].model_fields_set
    assert "path" in agents["ops"].model_fields_set


@pytest.mark.parametrize("name", ["http", "agents", "models", "adapters", "drain", "sentry_dsn", "state_dir"])
def test_a_key_without_a_value_takes_its_default(read: Read, name: str) -> None:
    assert read(f"{name}:\n  # everything here is a comment\n").settings == read("").settings


def test_an_empty_secret_is_as_good_as_none(read: Read) -> None:
    text = 'adapters: [{kind: webhook, name: a, secret: "${SECRET:-}"}]'
    adapter = read(text).settings.adapters[0]
    assert isinstance(adapter, WebhookAdapter)
    assert adapter.secret is None


def test_anchors_and_merges(read: Read) -> None:
    settings = read(
        "models:\n  a: &a {model: openai/x, max_tokens: 5}\n"
        "  b: {<<: *a, max_tokens: 6}\n  c: {<<: [*a], model: xai/y}\n"
        "agents: {yes: {model: a}, default: {}}"
    ).settings
    assert (settings.models["b"].model, settings.models["b"].max_tokens) == ("openai/x", 6)
    assert (settings.models["c"].model, settings.models["c"].max_tokens) == ("xai/y", 5)
    assert list(settings.agents) == ["yes", "default"]


@pytest.mark.parametrize("text", ["http: {port: '${X}'}", "http:\n  port: ${X}", 'http: {port: "${X}"}'])
def test_a_number_is_read_from_a_variable(read: Read, text: str) -> None:
    assert read(text, {"X": "77"}).settings.http.port == 77


def test_a_flag_and_a_size_are_read_from_variables(read: Read) -> None:
    settings = read("watch: ${W}\nattachments: {max_bytes: '${S}'}", {"W": "no", "S": "1MB"}).settings
    assert (settings.watch, settings.attachments.max_bytes) == (False, 1_000_000)


@pytest.mark.parametrize("model", ["demo/echo", "openai/gpt-5.4-mini", "openrouter/anthropic/x", "bedrock/a:b", "fast"])
def test_models_that_are_understood(read: Read, model: str) -> None:
    text = f"models: {{fast: {{model: openai/x}}}}\nagents: {{default: {{model: '{model}'}}}}"
    assert read(text).settings.agents["default"].model == model


def test_a_file_with_a_byte_order_mark(read: Read) -> None:
    assert read("\ufeffhttp: {port: 5}").settings.http.port == 5
