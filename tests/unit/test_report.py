"""What Sentry gets: which error, where, and the ids to look it up by; and nothing secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import httpx2 as httpx
import pytest
import sentry_sdk
import structlog
from pydantic import SecretStr

from app.config.load import load
from app.config.settings import Settings
from app.log import configure, ids
from app.report import report_errors
from tests.fakes.sentry import FakeSentry, serving_sentry

TOKEN = "1234567:AAHsomethingsecret"


@pytest.fixture
def sentry() -> Iterator[FakeSentry]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with serving_sentry() as fake:
        configure("info", "json", "worker", io.StringIO())
        report_errors(Settings(sentry_dsn=SecretStr(fake.dsn)), "worker")
        yield fake
        sentry_sdk.init()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def reported(sentry: FakeSentry, do: Callable[[], object]) -> list[dict[str, object]]:
    do()
    sentry_sdk.flush(10)
    return sentry.events


def fail() -> None:
    try:
        raise ValueError(f"can't use {TOKEN}")
    except ValueError:
        structlog.get_logger("app.x").exception("step_failed", verb="bash", api_key="sk-123456")


def test_an_error_has_its_release_its_process_and_the_ids_of_what_was_worked_on(sentry: FakeSentry) -> None:
    with ids(trace="t" * 32, thread="th", turn="tu"):
        (event,) = reported(sentry, fail)
    assert event["message"] == "step_failed"
    assert str(event["release"]).startswith("heyfleet@")
    assert event["tags"] == {"process": "worker", "trace": "t" * 32, "thread": "th", "turn": "tu"}
    exceptions = event["exception"]["values"]  # type: ignore[index]
    assert exceptions[0]["type"] == "ValueError"
    assert exceptions[0]["stacktrace"]["frames"][-1]["function"] == "fail"
    assert event["extra"]["verb"] == "bash"  # type: ignore[index]


def test_nothing_secret_gets_out(sentry: FakeSentry, tmp_path: object) -> None:
    """A configured token, one in the address of a request that was made before, one under its name, one in a text."""
    entry = f"{{kind: telegram, name: t, bot_token: '{TOKEN}'}}"
    (tmp_path / "heyfleet.yaml").write_text(f"adapters: [{entry}]")  # type: ignore[operator]
    load(environ={"OPENAI_API_KEY": "sk-from-the-environment"}, cwd=tmp_path)  # type: ignore[arg-type]

    def do() -> None:
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"http://127.0.0.1:1/interactions/1/an-interaction-s-token/callback?bot={TOKEN}")
        logging.getLogger("somebody").warning("tried with %s", TOKEN)
        fail()
        logging.getLogger("somebody").error("failed with %s and %s", TOKEN, "sk-from-the-environment")

    events = reported(sentry, do)
    assert len(events) == 2
    whole = json.dumps(sentry.raw)
    for secret in (TOKEN, "sk-123456", "an-interaction-s-token", "sk-from-the-environment"):
        assert secret not in whole


def test_without_a_dsn_nothing_is_loaded_or_sent() -> None:
    report_errors(Settings(), "worker")
