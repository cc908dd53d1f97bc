"""Traces for OpenTelemetry, only where a collector is configured: from what brought a message to its deliveries.

Every row bears the trace of its message, and that is the id of the OpenTelemetry trace as well. Who works on a row, in
whichever process and after whichever crash, knows by it where a span belongs: nothing travels through Celery, and a
wake that is lost takes no trace with it. Like logging this is one for the process. Until `begin` was called nothing is
recorded, and nothing of the library is loaded.

Log lines get their ids in the same places, with or without a collector.

No span holds what people or models said: names, ids, times and counts only.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from structlog.contextvars import bind_contextvars, reset_contextvars

from app.config.settings import Tracing
from app.errors import Cancelled, HeyfleetError, Permanent
from app.log import redacted

if TYPE_CHECKING:
    from app.tracing.otel import Tracer

Attributes = Mapping[str, str | int | float | bool | None]
Kind = Literal["internal", "server", "client", "producer", "consumer"]

PATH = "/v1/traces"
LIBRARIES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


class Span:
    """One that is being recorded; this class itself records nothing."""

    def note(self, attributes: Attributes) -> None:
        """What became known in the meantime; what is None is left out."""

    def failed(self, kind: str, text: str = "") -> None:
        """It ended badly; `kind` is short and one of few, `text` for a person."""

    def drop(self) -> None:
        """It turned out that there is nothing to tell."""


NOTHING = Span()


@dataclass(slots=True)
class Entrance:
    """Something that may bring a message in, whose trace is known once the message is stored."""

    trace: str | None = None
    fresh: bool = False
    """The message is new: this is its trace's first span."""
    span: Span = NOTHING
    around: Entrance | None = None
    bound: Mapping[str, Token[Any]] = field(default_factory=dict[str, "Token[Any]"])
    """The ids that log lines bear until its end."""


entered: ContextVar[Entrance | None] = ContextVar("entered", default=None)
_tracer: Tracer | None = None


def check(settings: Tracing) -> None:
    """Raises Permanent where traces are wanted, and what they need is not installed."""
    if settings.endpoint is None:
        return
    try:
        missing = [name for name in LIBRARIES if find_spec(name) is None]
    except ModuleNotFoundError:
        missing = list(LIBRARIES)
    if missing:
        raise Permanent("tracing.endpoint is set, and its libraries are not installed: install heyfleet[otel]")


def begin(settings: Tracing, process: str) -> None:
    """Record the spans of this process from now on, where a collector is configured; call it after any fork.

    Raises Permanent where the libraries are not installed.
    """
    global _tracer  # noqa: PLW0603 (one for the process)
    check(settings)
    if settings.endpoint is None:
        return
    from app.tracing.otel import tracer  # noqa: PLC0415 (100 ms and 15 MB that nobody pays who has no collector)

    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    resource = {
        "service.name": f"heyfleet-{process}",
        "service.namespace": "heyfleet",
        "service.version": version("heyfleet"),
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
    }
    _tracer = tracer(settings.endpoint, headers, settings.sample, resource)


def url_of(endpoint: str) -> str:
    """Where spans are sent. https://opentelemetry.io/docs/specs/otlp/#otlphttp-request"""
    return endpoint if endpoint.endswith(PATH) else endpoint.rstrip("/") + PATH


def end() -> None:
    """Send what was not sent yet; at most a few seconds. A process that exits in good order does it by itself."""
    global _tracer  # noqa: PLW0603
    if _tracer is not None:
        _tracer.close()
    _tracer = None


def message_span(trace: str) -> int:
    """The id of the first span of a trace, of what brought the message: every process can name it."""
    return int(trace[:16], 16)


def turn_span(trace: str) -> int:
    """The id of the turn's own span, which is recorded last: its parts are known by then."""
    return int(trace[16:], 16)


@contextmanager
def span(
    name: str, trace: str | None, attributes: Attributes | None = None, *, kind: Kind = "internal", turn: bool = False
) -> Iterator[Span]:
    """Record what happens inside as a part of `trace`, below the span that this is in, else below the turn's (`turn`)
    or the message's own. Without a trace (None, and not inside an entrance that has one) nothing is recorded."""
    if _tracer is None:
        yield NOTHING
        return
    around = entered.get()
    trace = trace or (around.trace if around else None)
    if trace is None:
        yield NOTHING
        return
    above = turn_span(trace) if turn else message_span(trace)
    with _tracer.span(name, trace, attributes or {}, kind, above) as found, noting_failure(found):
        yield found


def tool(name: str, call: UUID, trace: str) -> AbstractContextManager[Span]:
    """A tool call of a turn. https://github.com/open-telemetry/semantic-conventions-genai"""
    told = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "heyfleet.call.id": str(call),
    }
    return span(f"execute_tool {name}", trace, told, turn=True)


def call_ended(found: Span, state: str, attributes: Attributes | None = None) -> None:
    """How a tool call came out."""
    found.note({"heyfleet.call.state": state, **(attributes or {})})
    if state == "failed":
        found.failed(state)


def delivery(adapter: str, kind: str, name: UUID, trace: str | None) -> AbstractContextManager[Span]:
    """One try to deliver something; what it says of approvals is of one kind, whichever they are."""
    told = {
        "heyfleet.adapter": adapter,
        "heyfleet.delivery.id": str(name),
        "heyfleet.delivery.kind": kind.partition(":")[0],
    }
    return span(f"deliver {adapter}", trace, told, kind="client")


def decided(name: str, state: str, trace: str, seconds: float) -> None:
    """An approval that was asked for so many seconds ago, and how it was answered."""
    told = {"gen_ai.tool.name": name, "heyfleet.approval.state": state}
    past("wait for approval", trace, seconds, told)


@contextmanager
def noting_failure(found: Span) -> Iterator[None]:
    try:
        yield
    except Cancelled:
        # Somebody wanted it so, or the process ends: nothing is wrong.
        found.note({"heyfleet.cancelled": True})
        raise
    except HeyfleetError as error:
        found.failed(type(error).__name__, redacted(error.message))
        raise
    except BaseException as error:
        # Its text may hold anything; the log has it.
        found.failed(type(error).__name__)
        raise


@contextmanager
def entrance(
    name: str, attributes: Attributes | None = None, *, kind: Kind = "server", caller: str | None = None
) -> Iterator[Entrance]:
    """What happens inside may bring a message in: if it does (`accepted`), this is the first span of its trace.

    Inside another entrance it becomes a span below that one's. `caller` is the W3C `traceparent` of who sent it, in
    whose trace ours is not (others' ids must not tie our rows together), but which ours is linked with.
    """
    began = time.time_ns()
    here = Entrance(span=_tracer.later() if _tracer else NOTHING, around=entered.get())
    mark = entered.set(here)
    try:
        with noting_failure(here.span):
            yield here
    finally:
        entered.reset(mark)
        reset_contextvars(**here.bound)
        if _tracer is not None and here.trace is not None:
            here.span.note(attributes or {})
            message = message_span(here.trace)
            first = here.fresh and (here.around is None or here.around.trace != here.trace)
            place = {"own": message} if first else {"above": message}
            _tracer.past(name, here.trace, began, here.span, kind, caller=caller, **place)


def accepted(trace: str, thread: UUID, turn: UUID, *, fresh: bool) -> None:
    """What this is in has brought in a message; one that is not `fresh` had come before. Of several messages that one
    request brings, the first is the request's, and each is that of the entrance which it has for itself."""
    chain, here = list[Entrance](), entered.get()
    while here is not None:
        chain.append(here)
        here = here.around
    for each in reversed(chain):
        if each.trace is None:
            each.trace, each.fresh = trace, fresh
            each.bound = bind_contextvars(trace=trace, thread=str(thread), turn=str(turn))


def past(name: str, trace: str, seconds: float, attributes: Attributes, *, turn: bool = False, error: str = "") -> None:
    """Record what began so many seconds ago and ends now; `turn`: it is the turn's own span, else one below that."""
    if _tracer is None:
        return
    found = _tracer.later()
    found.note(attributes)
    if error:
        found.failed(error)
    began = time.time_ns() - round(max(0.0, seconds) * 1e9)
    if turn:
        _tracer.past(name, trace, began, found, "internal", own=turn_span(trace), above=message_span(trace))
    else:
        _tracer.past(name, trace, began, found, "internal", above=turn_span(trace))
