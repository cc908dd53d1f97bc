"""What can't be seen through the fake server: other providers' words, errors inside a stream, odd exceptions."""

from __future__ import annotations

import httpx2
import pytest
import structlog
from pydantic_ai import exceptions as library

from app.errors import ContextOverflow, HeyfleetError, Permanent, Transient
from app.llm.failures import failure_of


def http(status: int, body: object = None, kind: type[library.ModelAPIError] | None = None) -> library.ModelHTTPError:
    return library.ModelHTTPError.for_category(kind, status_code=status, model_name="m", body=body)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (http(400, "prompt is too long: 210000 tokens > 200000 maximum"), ContextOverflow),
        (http(400, {"message": "the request exceeds the available context size"}), ContextOverflow),
        (http(422, "Input is too long for requested model."), ContextOverflow),
        (http(400, "Your input exceeds the context window of this model."), ContextOverflow),
        (http(500, "prompt is too long"), Transient),
        (http(413), ContextOverflow),
        (http(425), Transient),
        (http(402, kind=library.ModelQuotaExceededError), Permanent),
        (http(503, kind=library.ModelOverloadedError), Transient),
        (http(302), Permanent),
        (library.ModelContextWindowExceededError("m", "too long", in_stream=True), ContextOverflow),
        (library.ModelQuotaExceededError("m", "no credit", in_stream=True), Permanent),
        (library.ModelAuthenticationError("m", "expired", in_stream=True), Permanent),
        (library.ModelOverloadedError("m", "overloaded", in_stream=True), Transient),
        (library.ModelAPIError("m", "an error without a status", in_stream=True), Transient),
        (library.ModelTimeoutError("m", "Request timed out."), Transient),
        (library.ModelRequestTimeout("m", 3), Transient),
        (library.ContentFilterError("filtered"), Permanent),
        (library.UnexpectedModelBehavior("no choices"), Transient),
        (library.UserError("no such native tool"), Permanent),
        (httpx2.RemoteProtocolError("peer closed connection without sending complete message body"), Transient),
        (ConnectionResetError("reset"), Transient),
        (TimeoutError(), Transient),
        (TypeError("'NoneType' object is not subscriptable"), Transient),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{type(value).__name__} {value}"[:60],
)
def test_kinds(error: Exception, kind: type[HeyfleetError]) -> None:
    found = failure_of(error, "fast")
    assert type(found) is kind
    assert found.message.endswith(".")
    assert "\n" not in found.message
    assert type(error).__name__ in found.detail


def test_the_wait_that_a_server_asks_for() -> None:
    error = library.ModelHTTPError(503, "m", None, headers={"Retry-After-Ms": "1500"})
    found = failure_of(error, "fast")
    assert isinstance(found, Transient)
    assert found.retry_after == 1.5


def test_detail_is_bounded_and_has_status_and_body() -> None:
    found = failure_of(http(500, {"message": "x" * 5000}), "fast")
    assert found.detail.startswith("ModelHTTPError: 500 ")
    assert len(found.detail) == 2000


def test_detail_names_the_first_cause() -> None:
    error = library.ModelConnectionError("m", "Connection error.")
    error.__cause__ = RuntimeError("in between")
    error.__cause__.__cause__ = ConnectionRefusedError("nobody listens")
    assert "ConnectionRefusedError: nobody listens" in failure_of(error, "fast").detail


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key provided: my-own-secret-key.",
        "Incorrect API key provided: sk-proj-abcdef123456.",
        "got Authorization: Bearer eyJhbGciOi.payload",
        "API key AIzaSyA1234567890 expired",
        "x" * 1970 + " my-own-secret-key",
    ],
)
def test_no_key_is_told(said: str) -> None:
    detail = failure_of(http(401, said), "fast", ["my-own-secret-key", "none"]).detail
    for part in ("my-own", "abcdef", "eyJhb", "SyA123"):
        assert part not in detail
    assert failure_of(http(400, "none of them"), "fast", ["none"]).detail.endswith("none of them")


def test_a_surprise_is_logged() -> None:
    with structlog.testing.capture_logs() as logs:
        failure_of(KeyError("choices"), "fast")
        failure_of(httpx2.ReadError("broken"), "fast")
    assert [entry["event"] for entry in logs] == ["model_request_failed_oddly"]
