"""Logs: one form for all loggers, the ids of what is worked on, and never a secret."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from pydantic import SecretStr

from app.log import MASK, configure, ids, redact, redacted

# Characters that are written otherwise in JSON, in URLs and by repr().
SECRET = 'p4ss"w\\ö&rd/'


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hooks = root.handlers[:], root.level, (sys.excepthook, threading.excepthook)
    yield
    root.handlers[:], root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture(params=["json", "console"])
def output(request: pytest.FixtureRequest) -> io.StringIO:
    """What was logged, in each format."""
    written = io.StringIO()
    configure("debug", request.param, "worker", written)
    return written


def as_json() -> io.StringIO:
    written = io.StringIO()
    configure("info", "json", "worker", written)
    return written


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def fail() -> None:
    raise ValueError(f"can't connect with {SECRET}")


def log_exception(log: Any) -> None:
    try:
        fail()
    except ValueError:
        log.exception("failed")


WAYS: dict[str, Callable[[], object]] = {
    "a structured value": lambda: structlog.get_logger("ours").info("event", value=SECRET),
    "the event": lambda: structlog.get_logger("ours").info(f"event {SECRET}"),
    "a deep value": lambda: structlog.get_logger("ours").info("event", value={"a": [("b", {SECRET: Path(SECRET)})]}),
    "bytes": lambda: structlog.get_logger("ours").info("event", value=b"secret-in-bytes"),
    "an object": lambda: structlog.get_logger("ours").info("event", value=ValueError(SECRET)),
    "an exception": lambda: log_exception(structlog.get_logger("ours")),
    "positional": lambda: structlog.get_logger("ours").warning("event %s", SECRET),
    "a library's message": lambda: logging.getLogger("celery.worker").warning("got %r", SECRET),
    "a library's exception": lambda: log_exception(logging.getLogger("sqlalchemy.pool")),
    "a URL": lambda: logging.getLogger("kombu").error("no connection to redis://:%s@h", "secret%2Fin%2Furl"),
    "a warning": lambda: warnings.warn(f"deprecated {SECRET}", stacklevel=1),
    "an id": lambda: log_with_ids(SECRET),
    "an uncaught exception": lambda: call_hook(sys.excepthook),
    "a thread's exception": lambda: in_thread(fail),
}


def log_with_ids(value: str) -> None:
    with ids(trace=value):
        structlog.get_logger("ours").info("event")


def call_hook(hook: Callable[..., object]) -> None:
    try:
        fail()
    except ValueError as error:
        hook(type(error), error, error.__traceback__)


def in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("way", WAYS)
def test_a_known_secret_never_appears(output: io.StringIO, way: str) -> None:
    for secret in (SECRET, "secret-in-bytes", "secret/in/url"):
        redact(secret)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        WAYS[way]()
    text = output.getvalue()
    assert MASK in text
    for form in (SECRET, json.dumps(SECRET)[1:-1], json.dumps(SECRET, ensure_ascii=False)[1:-1], repr(SECRET)[1:-1]):
        assert form not in text
    assert "secret-in-bytes" not in text
    assert "secret%2Fin%2Furl" not in text


@pytest.mark.parametrize(
    "key",
    [
        *("password", "DB_PASSWORD", "client_secret", "token", "bot_token", "accessToken", "token_value", "api_key"),
        *("apikey", "x-api-key", "private_key", "Authorization", "cookie", "credentials", "sentry_dsn"),
    ],
)
def test_what_stands_under_a_secrets_name_is_masked(output: io.StringIO, key: str) -> None:
    for value in ("hush-a", b"hush-b", ["hush-c"], {"inner": "hush-d"}, SecretStr("hush-e")):
        structlog.get_logger("ours").info("event", **{key: value})
        structlog.get_logger("ours").info("event", headers={key: value})
    assert "hush" not in output.getvalue()
    assert key in output.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://me:hush@db/x", f"postgresql+psycopg://me:{MASK}@db/x"),
        ("to redis://:hush@h:1/0, again", f"to redis://:{MASK}@h:1/0, again"),
        ("amqp://u:hu@sh@h", f"amqp://u:{MASK}@h"),
        ("Authorization: Bearer hush.hush-hush", f"Authorization: Bearer {MASK}"),
        ("authorization=hush", f"authorization={MASK}"),
        ("host=db password=hush user=me", f"host=db password={MASK} user=me"),
        ("password='hush hush' user=me", f"password={MASK} user=me"),
        ('{"api_key": "hush hush", "x": 1}', f'{{"api_key": {MASK}, "x": 1}}'),
        ("GET /hook?token=hush&x=1", f"GET /hook?token={MASK}&x=1"),
        ("Authorization: Bot hush.hush-hush", f"Authorization: Bot {MASK}"),
        ("{'Cookie': 'session=hush; theme=hush'}", f"{{'Cookie': '{MASK}'}}"),
        ("Set-Cookie: session=hush; HttpOnly\r\nServer: x", f"Set-Cookie: {MASK}\r\nServer: x"),
        ("access_key=hush&private-key: hush pwd=hush", f"access_key={MASK}&private-key: {MASK} pwd={MASK}"),
        ('{"token": "hu\\"sh", "x": 1}', f'{{"token": {MASK}, "x": 1}}'),
        ("xoxb-1234567890-hush and sk-proj-hushhushhushhush", f"{MASK} and {MASK}"),
        ("/bot123456789:AAhushhushhushhushhushhushhushhush-/getMe", f"/bot{MASK}/getMe"),
        (
            "a bot is at work; the cookie jar is full; a task-list",
            "a bot is at work; the cookie jar is full; a task-list",
        ),
        ("http://host:8000/path", "http://host:8000/path"),
        ("see http://host/a:b@c", "see http://host/a:b@c"),
        ("used 12 tokens of 100", "used 12 tokens of 100"),
        ("input_tokens=12", "input_tokens=12"),
    ],
)
def test_what_looks_like_a_secret_in_a_text(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_figures_and_flags_stay(output: io.StringIO) -> None:
    redact("73519284")
    structlog.get_logger("ours").info(
        "event", input_tokens=12, token=None, has_secret=True, pin=73519284, password=99887
    )
    text = output.getvalue()
    assert "12" in text
    assert "73519284" not in text
    assert "99887" not in text


def test_too_short_a_secret_does_not_mask_ordinary_text() -> None:
    for short in ("", " ", "a", "abc"):
        redact(short)
    assert redacted("abc is a text") == "abc is a text"


def test_a_secret_that_begins_with_another_is_masked_whole() -> None:
    for secret in ("hushhush", "hushhush-and-more", "q7x-trimmed\n"):
        redact(secret)
    assert redacted("hushhush-and-more") == redacted("q7x-trimmed") == MASK


def test_all_loggers_write_the_same_form() -> None:
    written = as_json()
    with ids(trace="t1", thread=UUID(int=1), turn=None):
        structlog.get_logger("ours").info("turn_done", steps=2)
        logging.getLogger("gunicorn.error").info("Booting %s", "worker")
    structlog.get_logger("ours").debug("not at this level")
    ours, theirs = lines(written)
    assert ours.pop("timestamp").endswith("Z")
    assert theirs.pop("timestamp").endswith("Z")
    known = {"process": "worker", "trace": "t1", "thread": str(UUID(int=1)), "level": "info"}
    assert ours == {**known, "event": "turn_done", "logger": "ours", "steps": 2}
    assert theirs == {**known, "event": "Booting worker", "logger": "gunicorn.error"}


def test_ids_end_with_their_work_and_stay_in_their_thread() -> None:
    written = as_json()
    log = structlog.get_logger("ours")
    with ids(trace="outer"):
        with ids(trace="inner", turn=7):
            log.info("one")
            in_thread(lambda: log.info("two"))
        log.info("three")
    log.info("four")
    found = [(line.get("trace"), line.get("turn")) for line in lines(written)]
    assert found == [("inner", "7"), (None, None), ("outer", None), (None, None)]


def test_handlers_of_libraries_do_not_write_past_ours() -> None:
    past = io.StringIO()
    library = logging.getLogger("gunicorn.error")
    library.addHandler(logging.StreamHandler(past))
    library.propagate = False
    written = as_json()
    library.error("hello")
    assert past.getvalue() == ""
    assert [line["event"] for line in lines(written)] == ["hello"]


def test_chatty_libraries_are_quiet() -> None:
    written = io.StringIO()
    configure("debug", "json", "worker", written)
    for name in ("httpx", "httpcore.connection", "celery.app.trace"):
        logging.getLogger(name).info("GET https://api.telegram.org/bot123:abc/getMe")
    assert written.getvalue() == ""


def test_auto_is_console_on_a_terminal_and_json_elsewhere() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, pipe = Terminal(), io.StringIO()
    configure("info", "auto", "web", terminal)
    structlog.get_logger("ours").info("hello")
    configure("info", "auto", "web", pipe)
    structlog.get_logger("ours").info("hello")
    assert "\x1b[" in terminal.getvalue()
    assert [line["event"] for line in lines(pipe)] == ["hello"]


def test_ctrl_c_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    written = as_json()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert written.getvalue() == ""
    assert "KeyboardInterrupt" in capsys.readouterr().err
