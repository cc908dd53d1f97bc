"""Spans by OpenTelemetry's library; loaded where a collector is configured."""

from __future__ import annotations

import atexit
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._shared_internal import BatchProcessor
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.tracing import Attributes, Kind, Span, url_of

SEND_SECONDS = 5.0
"""For one batch."""
EXIT_SECONDS = 3.0
"""That a process which ends waits for what was not sent yet; the library itself would wait for each batch."""
EVERY_SECONDS = 1.0
"""What a killed process did not send is lost: of each second's spans at most."""
SAY_SECONDS = 600.0
"""Between two words on a collector that takes nothing."""

KINDS = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}

chosen: ContextVar[tuple[int, int] | None] = ContextVar("chosen", default=None)
"""The ids of the trace and the span that is made next, where they are not to be random."""


class Ids(RandomIdGenerator):
    """The library asks for ids here and nowhere else."""

    def generate_trace_id(self) -> int:
        wanted = chosen.get()
        return wanted[0] if wanted else super().generate_trace_id()

    def generate_span_id(self) -> int:
        wanted = chosen.get()
        return wanted[1] if wanted else super().generate_span_id()


class Seldom(logging.Filter):
    """Lets what the library says of its failures through once in a while: it says something of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() - self._said_at < SAY_SECONDS:
            return False
        self._said_at = time.monotonic()
        # A fleet without its collector does its work.
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class Later(Span):
    """Noted now, made once it is known where it belongs."""

    def __init__(self) -> None:
        self.attributes: dict[str, str | int | float | bool] = {}
        self.error: tuple[str, str] | None = None
        self.dropped = False

    def note(self, attributes: Attributes) -> None:
        self.attributes |= {name: value for name, value in attributes.items() if value is not None}

    def failed(self, kind: str, text: str = "") -> None:
        self.error = (kind, text)

    def drop(self) -> None:
        self.dropped = True

    def put_into(self, made: api.Span) -> None:
        made.set_attributes(self.attributes)
        if self.error is not None:
            kind, text = self.error
            made.set_attribute("error.type", kind)
            made.set_status(Status(StatusCode.ERROR, text or None))


def remote(trace: str, span: int) -> Context:
    parent = SpanContext(int(trace, 16), span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return api.set_span_in_context(api.NonRecordingSpan(parent), Context())


class Tracer:
    """Makes the spans of one process."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("heyfleet")
        self._closed = False
        atexit.register(self.close)

    def close(self) -> None:
        """Send what was not sent yet, for a moment."""
        if self._closed:
            return
        self._closed = True
        sending = threading.Thread(target=self._provider.shutdown, name="last traces", daemon=True)
        sending.start()
        sending.join(EXIT_SECONDS)

    def later(self) -> Later:
        return Later()

    @contextmanager
    def span(self, name: str, trace: str, attributes: Attributes, kind: Kind, above: int) -> Iterator[Span]:
        """A span below the one that this is in, if that is of the same trace, else below `above`."""
        around = api.get_current_span().get_span_context()
        here = around.is_valid and around.trace_id == int(trace, 16)
        parent = None if here else remote(trace, above)
        made = self._tracer.start_span(name, parent, KINDS[kind])
        told = Later()
        told.note(attributes)
        try:
            with api.use_span(made, record_exception=False, set_status_on_exception=False):
                yield told
        finally:
            told.put_into(made)
            if not told.dropped:
                made.end()

    def past(
        self,
        name: str,
        trace: str,
        began: int,
        told: Span,
        kind: Kind,
        *,
        own: int | None = None,
        above: int | None = None,
        caller: str | None = None,
    ) -> None:
        """A span that is over, from `began` (nanoseconds since the epoch) until now; `own` is its id, where others hang
        below it that know nothing of it but the trace."""
        mark = chosen.set((int(trace, 16), own) if own is not None else None)
        around = remote(trace, above) if above is not None else Context()
        try:
            made = self._tracer.start_span(name, around, KINDS[kind], links=links(caller), start_time=began)
        finally:
            chosen.reset(mark)
        if isinstance(told, Later) and not told.dropped:
            told.put_into(made)
            made.end()


def links(caller: str | None) -> list[Link]:
    if caller is None:
        return []
    context = TraceContextTextMapPropagator().extract({"traceparent": caller}, Context())
    found = api.get_current_span(context).get_span_context()
    return [Link(found)] if found.is_valid else []


def tracer(endpoint: str, headers: Mapping[str, str], sample: float, resource: Mapping[str, str]) -> Tracer:
    """Sends to `endpoint` by OTLP over HTTP. What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say comes first."""
    provider = TracerProvider(
        # By the trace's id alone: all processes decide alike about all of its spans.
        sampler=TraceIdRatioBased(sample),
        resource=Resource.create(dict(resource)).merge(OTELResourceDetector().detect()),
        id_generator=Ids(),
        shutdown_on_exit=False,
    )
    for talkative in (OTLPSpanExporter.__module__, BatchProcessor.__module__):
        logging.getLogger(talkative).addFilter(Seldom())
    exporter = OTLPSpanExporter(endpoint=url_of(endpoint), headers=dict(headers), timeout=SEND_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EVERY_SECONDS * 1000))
    return Tracer(provider)
