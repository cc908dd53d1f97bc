"""An OpenTelemetry collector that takes traces by HTTP. https://opentelemetry.io/docs/specs/otlp/#otlphttp"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KEY = "the-collector's-key"


@dataclass(frozen=True)
class Seen:
    """One span as it came."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    service: str
    began: int
    ended: int
    error: str
    attributes: dict[str, Any]
    links: list[str]
    """Of the traces that it is linked with."""


@dataclass
class FakeCollector:
    origin: str = ""
    spans: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    refused: int = 0

    def of(self, trace: str) -> list[Seen]:
        """In the order in which they began."""
        return sorted((span for span in self.spans if span.trace == trace), key=lambda span: span.began)

    def take(self, body: bytes) -> None:
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = str(values(resource.resource.attributes)["service.name"])
            for scope in resource.scope_spans:
                self.spans += [seen(span, service) for span in scope.spans]


def seen(span: Any, service: str) -> Seen:
    return Seen(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        service=service,
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        error=span.status.message or "failed" if span.status.code == 2 else "",
        attributes=values(span.attributes),
        links=[link.trace_id.hex() for link in span.links],
    )


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[FakeCollector]:
    fake = FakeCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            known = self.headers.get("x-api-key") == KEY
            there = self.path == "/v1/traces"
            if known and there and self.headers.get("Content-Type") == "application/x-protobuf":
                fake.take(body)
            else:
                fake.refused += 1
            self.send_response((200 if there else 404) if known else 401)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: Any) -> None:
            """Nothing to tell."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.origin = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
