"""Structured logs of every process, with the ids of what is being worked on and without anything secret."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "********"
SHORTEST_SECRET = 4
"""Anything shorter stands in ordinary text by chance, which would be full of holes."""

SECRET_KEY = re.compile(
    r"password|passwd|passphrase|secret|credential|authorization|cookie|(api|private|access|signing)[_-]?key"
    r"|(^|[_.-])(pwd|dsn|apikey|signature)$|token([_.-]|$)",
    re.IGNORECASE,
)
# user:password@ of any URL; what follows Bearer and Basic; password=…, "token": "…" and the like inside a text.
URL_PASSWORD = re.compile(r"(?P<before>\b[a-z][a-z0-9+.-]*://[^\s:/?#@'\"]*:)[^\s/?#'\"]+(?=@)", re.IGNORECASE)
CREDENTIALS = re.compile(r"(?P<before>\b(?:Bearer|Basic|Bot)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
ASSIGNED = re.compile(
    r"(?P<before>(?:password|passwd|passphrase|\bpwd|secret|authorization|(?:api|access|private|signing)[_-]?key|token)"
    r"[\"']?\s*[=:]\s*)(?!(?:Bearer|Basic|Bot)\s)"
    r"(?P<value>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[^\s,;&)\]}\"']+)",
    re.IGNORECASE,
)
COOKIES = re.compile(r"(?P<before>\b(?:set-)?cookie[\"']?\s*[=:]\s*[\"']?)[^\r\n\"'}\]]+", re.IGNORECASE)
# What providers' tokens and keys look like: Slack, OpenAI and Anthropic, GitHub, AWS, Telegram's bots.
SHAPES = re.compile(
    r"\bxox[abeprs]-[A-Za-z0-9-]{8,}|\bxapp-[A-Za-z0-9-]{8,}|\bsk-[A-Za-z0-9_-]{16,}|\bgh[opsu]_[A-Za-z0-9]{20,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?<!\d)\d{6,12}:AA[A-Za-z0-9_-]{30,}"
)

# They tell of each request, some with its URL and headers, or of each wake.
QUIET = (
    "alembic.runtime.plugins",
    "anthropic",
    "asyncio",
    "botocore",
    "celery.app.trace",
    "celery.worker.strategy",
    "google_genai",
    "httpcore",
    "httpx",
    "httpx2",
    "openai",
    "slack_sdk",
    "urllib3",
    "websockets",
)


def configure(level: str, format: str, process: str, stream: TextIO | None = None) -> None:  # noqa: A002 (the key's name)
    """Send the logs of this process, our own and all libraries', to stderr (or `stream`).

    `level` and `format` are those of `log` in heyfleet.yaml; `process` stands in every line. May be called again.
    """
    output = stream or sys.stderr
    console = format == "console" or (format == "auto" and output.isatty())

    def add_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {**event, "process": process}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    json_lines = structlog.processors.JSONRenderer(ensure_ascii=False)
    renderer = console_renderer(colors=output.isatty()) if console else json_lines
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_process,
            structlog.processors.format_exc_info,
            masked_event,
            renderer,
        ],
    )
    send_everything_to(output, formatter, level)


def console_renderer(*, colors: bool) -> Processor:
    # Its default shows the local variables of a traceback.
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)


def send_everything_to(output: TextIO, formatter: logging.Formatter, level: str) -> None:
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Libraries that were imported before us may have brought handlers of their own, past ours.
    for name in list(root.manager.loggerDict):
        library = logging.getLogger(name)
        library.handlers[:] = [own for own in library.handlers if isinstance(own, logging.NullHandler)]
        library.propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
    sys.excepthook = log_uncaught
    threading.excepthook = log_uncaught_in_thread


def log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What would end the process is logged, so that no secret gets past."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    structlog.get_logger("uncaught").critical("uncaught", exc_info=(kind, error, traceback))


def log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else None
    structlog.get_logger("uncaught").critical(
        "uncaught", thread_name=name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
    )


@contextmanager
def ids(*, trace: str | None = None, thread: object = None, turn: object = None) -> Iterator[None]:
    """While it is entered, each log line of this thread of execution bears these ids."""
    given = {"trace": trace, "thread": thread, "turn": turn}
    with structlog.contextvars.bound_contextvars(**{name: str(value) for name, value in given.items() if value}):
        yield


def redact(value: str) -> None:
    """From now on, `value` is masked wherever it appears in a log of this process, also in its usual escaped forms."""
    known.add(value)


def redacted(text: str) -> str:
    """`text` with everything masked that is known to be secret or looks like it."""
    text = known.mask(text)
    text = URL_PASSWORD.sub(rf"\g<before>{MASK}", text)
    text = COOKIES.sub(rf"\g<before>{MASK}", text)
    text = CREDENTIALS.sub(rf"\g<before>{MASK}", text)
    text = SHAPES.sub(MASK, text)
    return ASSIGNED.sub(rf"\g<before>{MASK}", text)


def masked_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The last processor before the renderer: by then, exceptions and stacks are texts."""
    first = {key: event[key] for key in ("timestamp", "level", "process", "event") if key in event}
    return {redacted(str(key)): masked(value, str(key)) for key, value in {**first, **event}.items()}


def masked(value: Any, key: str = "") -> Any:
    """A value of a log line as it may be shown: what stands under a secret's name is masked, whatever it is."""
    match value:
        case None | bool():
            return value
        case int() | float() if "token" in key.lower() or not SECRET_KEY.search(key):
            # A number of tokens is no token; but a secret may be a number.
            return MASK if known.mask(str(value)) != str(value) else value
        case _ if SECRET_KEY.search(key):
            return MASK
        case str():
            return redacted(value)
        case Mapping():
            return {redacted(str(inner)): masked(item, str(inner)) for inner, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [masked(item) for item in value]
        case _:
            return redacted(str(value) if not isinstance(value, BaseException) else f"{type(value).__name__}: {value}")


class KnownSecrets:
    """The secrets of this process, as one pattern."""

    def __init__(self) -> None:
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def add(self, value: str) -> None:
        plain = value.strip()
        if len(plain) < SHORTEST_SECRET:
            return
        forms = {plain, quote(plain, safe=""), json.dumps(plain)[1:-1], repr(plain)[1:-1]}
        with self._lock:
            if forms <= self._forms:
                return
            self._forms |= forms
            # The longest first: one may be the beginning of another.
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._forms, key=len, reverse=True))))

    def mask(self, text: str) -> str:
        pattern = self._pattern
        return pattern.sub(MASK, text) if pattern else text


known = KnownSecrets()
