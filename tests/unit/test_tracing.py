"""Traces are off until a collector is configured, kept for a share of the messages, and free of what people say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from uuid import UUID

import pytest
from pydantic import SecretStr
from structlog.contextvars import get_contextvars

from app import tracing
from app.config.settings import Tracing
from app.errors import Cancelled, Transient
from tests.fakes.collector import KEY, FakeCollector, Seen, collecting

THREAD, TURN = UUID(int=1), UUID(int=2)
# Just below and just above a half, in what decides about a trace: its lower 64 bits.
KEPT, LEFT_OUT = "a" * 16 + "7fffffffffffffff", "a" * 16 + "8000000000000001"


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    with collecting() as found:
        yield found
        tracing.end()


def begin(collector: FakeCollector, **more: float) -> None:
    headers = {"x-api-key": SecretStr(KEY)}
    tracing.begin(Tracing(endpoint=collector.origin, headers=headers, **more), "worker")


def sent(collector: FakeCollector) -> list[Seen]:
    tracing.end()
    return sorted(collector.spans, key=lambda span: span.began)


def test_without_a_collector_nothing_is_recorded_or_loaded() -> None:
    program = """
import sys
from app import tracing
from app.config.settings import Tracing
tracing.begin(Tracing(), "worker")
with tracing.entrance("a"), tracing.span("b", "c" * 32) as span:
    span.note({"d": 1})
    span.failed("e")
tracing.past("f", "c" * 32, 1, {})
tracing.end()
sys.exit(any(name.startswith("opentelemetry") for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_missing_library_is_told_with_its_cure() -> None:
    program = """
import sys
sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
from app import tracing
from app.config.settings import Tracing
from app.errors import Permanent
try:
    tracing.begin(Tracing(endpoint="http://127.0.0.1:9"), "worker")
except Permanent as error:
    print(error.message)
"""
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert said.strip().endswith("install heyfleet[otel]")


@pytest.mark.parametrize(("sample", "names"), [(1, ["a", "b"]), (0.5, ["a"]), (0, [])])
def test_a_share_of_the_traces_is_kept_and_each_whole(
    collector: FakeCollector, sample: float, names: list[str]
) -> None:
    begin(collector, sample=sample)
    for name, trace in (("a", KEPT), ("b", LEFT_OUT)):
        for _ in range(2):
            with tracing.span(name, trace), tracing.span(name, trace):
                tracing.past(name, trace, 1, {})
    assert sorted(span.name for span in sent(collector)) == [name for name in names for _ in range(6)]


def test_a_span_stands_below_the_one_it_is_in_and_below_its_trace_s_own_elsewhere(collector: FakeCollector) -> None:
    begin(collector)
    with tracing.span("outer", KEPT, turn=True), tracing.span("inner", KEPT), tracing.span("other", LEFT_OUT):
        pass
    with tracing.span("nothing", None):
        pass
    with tracing.span("dropped", KEPT) as span:
        span.drop()
    outer, inner, other = sent(collector)
    assert (outer.name, outer.parent) == ("outer", KEPT[16:])
    assert (inner.name, inner.parent) == ("inner", outer.id)
    assert (other.name, other.parent) == ("other", LEFT_OUT[:16])


def test_what_brings_a_message_in_is_its_trace_s_first_span_and_a_repetition_is_not(collector: FakeCollector) -> None:
    begin(collector)
    with tracing.entrance("nothing came"):
        pass
    with tracing.entrance("first", {"a": None, "b": 1}), tracing.entrance("within"):
        tracing.accepted(KEPT, THREAD, TURN, fresh=True)
        with tracing.span("send", None):
            pass
    with tracing.entrance("again", caller="nonsense"):
        tracing.accepted(KEPT, THREAD, TURN, fresh=False)
    first, within, send, again = sent(collector)
    assert (first.name, first.id, first.parent, first.attributes) == ("first", KEPT[:16], "", {"b": 1})
    assert [(span.name, span.parent) for span in (within, send, again)] == [
        ("within", first.id),
        ("send", first.id),
        ("again", first.id),
    ]
    assert {span.trace for span in (first, within, send, again)} == {KEPT}


def test_several_messages_of_one_request_have_a_trace_each(collector: FakeCollector) -> None:
    """As another package's adapter may get them: the first is the request's."""
    begin(collector)
    with tracing.entrance("request"):
        for trace in (KEPT, LEFT_OUT):
            with tracing.entrance("receive"):
                tracing.accepted(trace, THREAD, TURN, fresh=True)
                assert get_contextvars()["trace"] == trace
        assert get_contextvars()["trace"] == KEPT
    assert get_contextvars() == {}
    request, first, second = sent(collector)
    assert (request.name, request.id, request.parent) == ("request", KEPT[:16], "")
    assert (first.trace, first.parent) == (KEPT, request.id)
    assert (second.trace, second.id, second.parent) == (LEFT_OUT, LEFT_OUT[:16], "")


def test_log_lines_bear_the_message_s_ids_until_its_entrance_ends() -> None:
    with tracing.entrance("request"):
        with tracing.entrance("receive"):
            assert get_contextvars() == {}
            tracing.accepted(KEPT, THREAD, TURN, fresh=True)
        assert get_contextvars() == {"trace": KEPT, "thread": str(THREAD), "turn": str(TURN)}
    assert get_contextvars() == {}
    # Outside of one there is nobody who would take them off again.
    tracing.accepted(KEPT, THREAD, TURN, fresh=True)
    assert get_contextvars() == {}


def test_a_failure_tells_its_kind_and_of_our_own_the_text(collector: FakeCollector) -> None:
    begin(collector)
    for error in (Transient("the model is busy; Bearer abcdefgh"), ValueError("what somebody said")):
        with pytest.raises(type(error)), tracing.span("fails", KEPT):
            raise error
    first, second = sent(collector)
    assert first.error == "the model is busy; Bearer ********"
    assert (first.attributes["error.type"], second.attributes["error.type"]) == ("Transient", "ValueError")
    assert second.error == "failed"
    assert not any(b"somebody said" in raw for raw in collector.raw)


def test_what_somebody_stopped_is_no_failure(collector: FakeCollector) -> None:
    begin(collector)
    with pytest.raises(Cancelled), tracing.span("stops", KEPT):
        raise Cancelled("by ada")
    (span,) = sent(collector)
    assert (span.error, span.attributes) == ("", {"heyfleet.cancelled": True})


def test_an_exit_waits_for_a_silent_collector_for_a_moment_only() -> None:
    program = """
import socket
from app import tracing
from app.config.settings import Tracing
listening = socket.create_server(("127.0.0.1", 0))
tracing.begin(Tracing(endpoint=f"http://127.0.0.1:{listening.getsockname()[1]}"), "worker")
for _ in range(1600):
    with tracing.span("a", "c" * 32):
        pass
"""
    # The library by itself: 25 s.
    subprocess.run([sys.executable, "-c", program], check=True, timeout=15)


def test_the_environment_names_the_service_and_adds_to_its_resource(
    collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat-prod")
    begin(collector)
    with tracing.span("a", KEPT):
        pass
    (span,) = sent(collector)
    assert span.service == "chat-prod"
