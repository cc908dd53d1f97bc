"""Keys from the environment."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from app.config.adapters import WebhookAdapter
from tests.unit.config.conftest import Problems, Read

WEBHOOK = "adapters: [{kind: webhook, name: a, secret: first}]"


def webhook(read: Read, environ: dict[str, str]) -> WebhookAdapter:
    adapter = read(WEBHOOK, environ).settings.adapters[0]
    assert isinstance(adapter, WebhookAdapter)
    return adapter


def test_a_variable_wins_over_the_file(read: Read) -> None:
    assert read("http: {port: 1}", {"HEYFLEET_HTTP__PORT": "9000"}).settings.http.port == 9000


def test_the_process_wins_over_dotenv(read: Read) -> None:
    settings = read(None, {"HEYFLEET_HTTP__PORT": "1"}, "HEYFLEET_HTTP__PORT=2\nHEYFLEET_SCOPE=user\n").settings
    assert (settings.http.port, settings.scope) == (1, "user")


def test_dotenv_is_taken_as_it_stands(read: Read) -> None:
    loaded = read(None, {"HOME": "/home/x"}, "export A='p${HOME}$x'\n# comment\nB=\nC\nOPENAI_API_KEY=sk-1\n")
    assert loaded.environ["A"] == "p${HOME}$x"
    assert loaded.environ["OPENAI_API_KEY"] == "sk-1"
    assert "sk-1" not in repr(loaded)


def test_placeholders_see_dotenv(read: Read) -> None:
    assert read("http: {host: '${H}'}", {}, "H=example.org").settings.http.host == "example.org"


def test_an_empty_variable_counts_as_not_set(read: Read) -> None:
    assert read("http: {port: 5}", {"HEYFLEET_HTTP__PORT": "", "DATABASE_URL": ""}).settings.http.port == 5


def test_a_section_as_json_is_laid_over_the_file(read: Read) -> None:
    environ = {"HEYFLEET_HTTP": '{"port": 2, "threads": 4}', "HEYFLEET_HTTP__THREADS": "8"}
    http = read("http: {port: 1, host: h}", environ).settings.http
    assert (http.host, http.port, http.threads) == ("h", 2, 8)


def test_a_list_as_json_replaces_the_files(read: Read) -> None:
    settings = read(WEBHOOK, {"HEYFLEET_ADAPTERS": '[{"kind": "local", "name": "b"}]'}).settings
    assert [adapter.name for adapter in settings.adapters] == ["b"]


def test_what_a_variable_replaced_is_not_looked_up_in_the_file(problems: Problems) -> None:
    environ = {"HEYFLEET_ADAPTERS": '[{"kind": "local", "name": "B"}]'}
    assert problems(WEBHOOK, environ) == ["$HEYFLEET_ADAPTERS: adapters[0].name: must match ^[a-z0-9][a-z0-9_-]{0,62}$"]


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("0123", SecretStr("0123")),
        ("yes", SecretStr("yes")),
        ('["a", "b"]', [SecretStr("a"), SecretStr("b")]),
        ("[no json", SecretStr("[no json")),
        ("{no json", SecretStr("{no json")),
        ("5", SecretStr("5")),
    ],
)
def test_an_item_of_a_list(read: Read, value: str, secret: object) -> None:
    assert webhook(read, {"HEYFLEET_ADAPTERS__0__SECRET": value}).secret == secret


def test_names_that_people_chose(read: Read) -> None:
    text = "agents: {default: {}, My-Agent: {model: demo/echo}}"
    agents = read(
        text, {"HEYFLEET_AGENTS__MY_AGENT__MODEL": "xai/a", "HEYFLEET_AGENTS__NEW__MODEL": "xai/b"}
    ).settings.agents
    assert (agents["My-Agent"].model, agents["new"].model) == ("xai/a", "xai/b")


def test_an_empty_section_of_the_file_can_be_filled(read: Read) -> None:
    assert read("http:\n", {"HEYFLEET_HTTP__PORT": "5"}).settings.http.port == 5


@pytest.mark.parametrize(
    ("name", "key"), [("DATABASE_URL", "database_url"), ("REDIS_URL", "redis_url"), ("SENTRY_DSN", "sentry_dsn")]
)
def test_plain_names_serve_where_nothing_else_sets_the_key(read: Read, name: str, key: str) -> None:
    assert getattr(read("", {name: "plain"}).settings, key) == SecretStr("plain")
    assert getattr(read(f"{key}: file", {name: "plain"}).settings, key) == SecretStr("file")
    both = {name: "plain", f"HEYFLEET_{key.upper()}": "ours"}
    assert getattr(read(f"{key}: file", both).settings, key) == SecretStr("ours")


@pytest.mark.parametrize("name", ["HEYFLEET_CONFIG", "HEYFLEET_WEBHOOK_SECRET", "HEYFLEET_SECRET_KEY"])
def test_names_that_are_no_keys(read: Read, name: str) -> None:
    read("", {name: "heyfleet.yaml"})


def test_a_name_that_a_placeholder_uses_is_no_key(read: Read, problems: Problems) -> None:
    environ = {"HEYFLEET_MINE": "h", "HEYFLEET_HTTP__PORT": "5"}
    http = read("http: {host: '${HEYFLEET_MINE}', port: 1, threads: '${HEYFLEET_HTTP__PORT}'}", environ).settings.http
    assert (http.host, http.port, http.threads) == ("h", 1, 5)
    assert problems("http: {host: h}", {"HEYFLEET_MINE": "h"})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("HEYFLEET_HTPP__PORT", "HEYFLEET_HTTP__PORT"),
        ("HEYFLEET_HTTP_PORT", "HEYFLEET_HTTP__PORT"),
        ("HEYFLEET_HTTP__PROT", "HEYFLEET_HTTP__PORT"),
        ("HEYFLEET_DRIAN", "HEYFLEET_DRAIN"),
        ("HEYFLEET_WEBHOOK_SECRETS", "HEYFLEET_WEBHOOK_SECRET"),
        ("HEYFLEET_AGENTS__DEFAULT__MODLE", "HEYFLEET_AGENTS__DEFAULT__MODEL"),
        ("HEYFLEET_HTTP__PORT__X", "HEYFLEET_HTTP__PORT"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(problems: Problems, name: str, nearest: str) -> None:
    (problem,) = problems("agents: {default: {}}", {name: "sesame"})
    assert problem == f"${name}: sets no key that exists; did you mean {nearest}?"


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"HEYFLEET_HTTP__PORT": "sesame"}, "$HEYFLEET_HTTP__PORT: http.port: must be a whole number"),
        ({"HEYFLEET_ADAPTERS": "sesame"}, "$HEYFLEET_ADAPTERS: adapters: must be JSON"),
        ({"HEYFLEET_HTTP": '"sesame"'}, "$HEYFLEET_HTTP: http: must be keys and values"),
        (
            {"HEYFLEET_HTTP": '{"prot": "sesame"}'},
            "$HEYFLEET_HTTP: http.prot: there is no such key; did you mean port?",
        ),
        ({"HEYFLEET_ADAPTERS__3__NAME": "sesame"}, "$HEYFLEET_ADAPTERS__3__NAME: sets no key that exists"),
        ({"HEYFLEET_DRAIN": "sesame"}, "$HEYFLEET_DRAIN: drain: this is no duration"),
        ({"HEYFLEET_SCOPE": "sesame"}, "$HEYFLEET_SCOPE: scope: must be one of channel, user, adapter, agent"),
        (
            {"HEYFLEET_AGENTS__DEFAULT__MODEL": "sesame"},
            "$HEYFLEET_AGENTS__DEFAULT__MODEL: agents.default.model: must be",
        ),
        (
            {"HEYFLEET_AGENTS__DEFAULT__MODEL": "sesame/x"},
            "agents.default.model: there is no such provider; known here",
        ),
    ],
)
def test_what_is_wrong_names_the_variable_and_not_the_value(
    problems: Problems, environ: dict[str, str], problem: str
) -> None:
    (found,) = problems("", environ)
    assert problem in found
    assert "sesame" not in found


def test_what_is_wrong_in_dotenv_names_the_line(problems: Problems) -> None:
    found = problems(None, {}, "A=1\n\n= sesame\nHEYFLEET_HTTP__PORT=sesame\n")
    assert found == [
        ".env:3: is not NAME=value; correct or remove the line",
        ".env:4: http.port: must be a whole number ($HEYFLEET_HTTP__PORT)",
    ]
