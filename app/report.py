"""Error reports to Sentry, only where a DSN is set: which error, where in the code, and the ids to look it up by."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from structlog.contextvars import get_contextvars

from app.config.settings import Settings
from app.log import masked

if TYPE_CHECKING:
    from sentry_sdk.types import Breadcrumb, Event, Hint

IDS = ("trace", "thread", "turn")
TOLD = ("exception", "level", "logger", "timestamp", "event_id", "release", "environment", "platform", "sdk", "tags")
"""What of a report is left as it is, but for what is secret in it; the rest may hold what people said."""


def report_errors(settings: Settings, process: str) -> None:
    """Send this process's errors to Sentry, without what people said: neither bodies, nor variables, nor prompts."""
    if settings.sentry_dsn is None:
        return
    import sentry_sdk  # noqa: PLC0415 (60 ms and 10 MB that nobody pays who has no DSN)

    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        release=f"heyfleet@{version('heyfleet')}",
        server_name=None,
        send_default_pii=False,
        # Frames' variables and request bodies hold messages and tokens.
        include_local_variables=False,
        max_request_body_size="never",
        traces_sample_rate=0,
        # Each of them watches a library, and notes what goes through it: URLs with tokens, statements, prompts.
        auto_enabling_integrations=False,
        max_breadcrumbs=20,
        before_breadcrumb=crumb,
        before_send=scrubbed,
    )
    sentry_sdk.set_tag("process", process)


def crumb(found: Breadcrumb, _: Hint) -> Breadcrumb | None:
    """What was logged before; of requests to others nothing, since a token may be part of an address."""
    if found.get("category") in ("httplib", "http", "redis", "query", "subprocess"):
        return None
    return masked({key: found[key] for key in ("category", "level", "timestamp", "type") if key in found})  # type: ignore[no-any-return]


def scrubbed(event: Event, hint: Hint) -> Event:
    """Our own log lines as what they are, the ids of what was being worked on, and nothing secret."""
    told: dict[str, Any] = {key: event[key] for key in TOLD if key in event}  # type: ignore[literal-required]
    record = hint.get("log_record")
    line = record.msg if record is not None and isinstance(record.msg, Mapping) else {}
    ids = {**get_contextvars(), **line}
    told["tags"] = {**dict(told.get("tags") or {}), **{name: str(ids[name]) for name in IDS if ids.get(name)}}
    if line:
        told["message"] = str(line.get("event"))
        told["extra"] = {key: value for key, value in line.items() if not key.startswith("_") and key != "exc_info"}
    elif record is not None:
        # Another library's line: as it was written in its code, without what was filled in.
        told["message"] = str(record.msg)
    elif "request" in event:
        told["request"] = {"method": event["request"].get("method")}
    return masked(told)  # type: ignore[no-any-return]
