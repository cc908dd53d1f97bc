"""One OpenTelemetry trace for each message, from what brought it to its deliveries, through every process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeFleet
from tests.e2e.due_times import local_job, more_runs
from tests.e2e.fleet import Fleet, wait_until
from tests.e2e.test_cli import run
from tests.fakes import openai
from tests.fakes.collector import KEY, FakeCollector, Seen, collecting
from tests.fakes.openai import FakeOpenAI
from tests.fakes.receiver import Receiver
from tests.fakes.telegram import serving_telegram

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE_OF = "SELECT trace FROM turn WHERE id = :run"


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    with collecting() as found:
        yield found


@pytest.fixture
def model_server() -> Iterator[FakeOpenAI]:
    with openai.start(api_key="sk-test") as server:
        yield server


def config(collector: FakeCollector, server: FakeOpenAI, **more: Any) -> dict[str, Any]:
    alias = {"model": "openai/gpt-test", "base_url": server.base_url, "api_key": "sk-test"}
    traced = {"endpoint": collector.origin, "headers": {"x-api-key": KEY}}
    return {"models": {"fake": alias}, "agents": {"default": {"model": "fake"}}, "tracing": traced, **more}


def trace_of(fleet: Fleet, accepted: dict[str, Any]) -> str:
    ((trace,),) = fleet.sql(TRACE_OF, run=accepted["runId"])
    return str(trace)


def whole(fleet: Fleet, collector: FakeCollector, trace: str, *names: str) -> list[Seen]:
    """The trace's spans, once those of these names are there and hang together in one tree."""

    def there() -> bool:
        spans = collector.of(trace)
        known = {span.id for span in spans}
        unknown = [span for span in spans if span.parent not in known]
        return not Counter(names) - Counter(span.name for span in spans) and [span.parent for span in unknown] == [""]

    wait_until(there, 20, lambda: f"{[(span.name, span.parent) for span in collector.of(trace)]}\n{fleet.logs()}")
    spans = collector.of(trace)
    assert len({span.id for span in spans}) == len(spans)
    assert all(span.began <= span.ended for span in spans)
    return spans


def named(spans: list[Seen], name: str) -> list[Seen]:
    return [span for span in spans if span.name == name]


def test_from_the_webhook_to_the_callback(
    make_fleet: MakeFleet, collector: FakeCollector, model_server: FakeOpenAI, receiver: Receiver
) -> None:
    fleet = make_fleet(web=1, worker=2, runner=1, config=config(collector, model_server))
    web = fleet.of("web")[0]
    text = 'a plum of mine [[tools=1 command="echo peach" reply="a quince"]]'
    body = {"user": "ada-the-sender", "text": text, "eventId": "e1", "replyUrl": receiver.url}
    caller = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}
    status, accepted = fleet.request(web, "POST", "/webhook/internal", body, caller)
    assert status == 202
    assert fleet.finished(accepted)["text"] == "a quince"
    # The same message once more: a part of the same trace.
    assert fleet.request(web, "POST", "/webhook/internal", body)[1]["runId"] == accepted["runId"]

    post = "POST /webhook/<name>"
    chat, work = "chat gpt-test", "process heyfleet.thread"
    ended = ["invoke_agent default", "deliver internal"]
    trace = trace_of(fleet, accepted)
    spans = whole(fleet, collector, trace, post, post, chat, chat, work, work, "execute_tool bash", *ended)

    first = next(span for span in spans if not span.parent)
    assert (first.name, first.kind, first.service, first.links) == (post, "server", "heyfleet-web", [CALLER])
    assert first.attributes["http.route"] == "/webhook/<name>"
    assert first.attributes["http.response.status_code"] == 202
    again = named(spans, post)[-1]
    assert (again.parent, again.links) == (first.id, [])
    sent = named(spans, "send heyfleet.thread")[0]
    assert (sent.parent, sent.kind, sent.attributes["messaging.destination.name"]) == (first.id, "producer", "turns")

    (agent,) = named(spans, "invoke_agent default")
    assert (agent.parent, agent.service, agent.error) == (first.id, "heyfleet-worker", "")
    assert agent.attributes["heyfleet.turn.id"] == accepted["runId"]
    assert (agent.attributes["heyfleet.turn.state"], agent.attributes["heyfleet.turn.steps"]) == ("done", 2)
    works = {span.id: span for span in named(spans, work)}
    assert all((span.parent, span.kind) == (agent.id, "consumer") for span in works.values())
    asked = named(spans, chat)
    assert [span.attributes["heyfleet.step"] for span in asked] == [1, 2]
    for span in asked:
        assert span.parent in works
        assert span.attributes["gen_ai.operation.name"] == "chat"
        assert span.attributes["gen_ai.provider.name"] == "openai"
        assert span.attributes["gen_ai.request.model"] == "gpt-test"
        assert span.attributes["gen_ai.usage.input_tokens"] > 0
        assert span.attributes["gen_ai.usage.output_tokens"] > 0
        assert agent.began < span.ended <= agent.ended
    (tool,) = named(spans, "execute_tool bash")
    assert (tool.parent, tool.service) == (agent.id, "heyfleet-runner")
    assert tool.attributes["heyfleet.call.state"] == "done"
    (opened,) = named(spans, "open sandbox virtual")
    assert (opened.parent, opened.service) == (agent.id, "heyfleet-runner")
    (delivered,) = named(spans, "deliver internal")
    assert (delivered.parent, delivered.kind, delivered.service) == (first.id, "client", "heyfleet-worker")
    assert delivered.attributes["heyfleet.delivery.outcome"] == "sent"

    said = b"".join(collector.raw)
    assert not [word for word in (b"plum", b"peach", b"quince", b"ada-the-sender", KEY.encode()) if word in said]
    assert collector.refused == 0


def test_failures_and_waiting_for_people(
    make_fleet: MakeFleet, collector: FakeCollector, model_server: FakeOpenAI
) -> None:
    people = {"permissions": {"approvers": {"users": ["grace"]}}, "allow": {"users": ["ada", "grace"]}}
    fleet = make_fleet(web=1, worker=1, runner=1, config=config(collector, model_server, webhook=people))
    risky = fleet.post('[[tools=1 command="curl example.com"]] go')
    (question,) = fleet.asked(risky)
    assert fleet.decide(question["id"], "deny")[0] == 200
    fleet.finished(risky)
    spans = whole(fleet, collector, trace_of(fleet, risky), "wait for approval", "invoke_agent default")
    (waited,) = named(spans, "wait for approval")
    assert waited.attributes["heyfleet.approval.state"] == "denied"
    assert waited.service == "heyfleet-web"

    hopeless = fleet.post("[[status=401]] plum")
    assert fleet.finished(hopeless)["status"] == "failed"
    spans = whole(fleet, collector, trace_of(fleet, hopeless), "chat gpt-test", "invoke_agent default")
    (asked,), (agent,) = named(spans, "chat gpt-test"), named(spans, "invoke_agent default")
    assert asked.attributes["error.type"] == "Permanent"
    assert asked.error
    assert (agent.attributes["error.type"], agent.attributes["heyfleet.turn.state"]) == ("failed", "failed")
    assert not any(b"plum" in raw for raw in collector.raw)

    # What was not sent yet is sent before they end.
    last = fleet.finished(fleet.post("[[reply=fine]] go"))
    for process in fleet.of("worker") + fleet.of("web"):
        assert process.stop() == 0
    whole(fleet, collector, trace_of(fleet, last), "POST /webhook/<name>", "chat gpt-test", "invoke_agent default")


TOOLS = """
from app.authoring import tool


@tool
def fails() -> str:
    \"\"\"Fail.\"\"\"
    raise ValueError("plum")
"""


def test_commands_trusted_tools_and_the_command_line(
    make_fleet: MakeFleet, collector: FakeCollector, model_server: FakeOpenAI, tmp_path: Path
) -> None:
    """Whatever brought a message, its spans hang together."""
    (tmp_path / "agent" / "tools").mkdir(parents=True)
    (tmp_path / "agent" / "tools" / "mine.py").write_text(TOOLS)
    agents = {"default": {"model": "fake", "path": str(tmp_path / "agent")}}
    more = {"policy": {"approve": ["date"]}, "agents": agents}
    fleet = make_fleet(web=1, worker=1, runner=1, config=config(collector, model_server) | more)
    command = fleet.post("bash echo hello")
    assert fleet.finished(command)["status"] == "done"
    spans = whole(fleet, collector, trace_of(fleet, command), "obey bash", "execute_tool bash", "open sandbox virtual")
    (obeyed,), (tool,) = named(spans, "obey bash"), named(spans, "execute_tool bash")
    assert (tool.parent, obeyed.attributes["heyfleet.turn.state"]) == (obeyed.id, "done")

    failing = fleet.post('[[tools=1 parallel=2 tool=fails args="{}" reply="fine"]] go')
    fleet.finished(failing)
    names = ["execute_tool fails"] * 2 + ["invoke_agent default"]
    spans = whole(fleet, collector, trace_of(fleet, failing), *names)
    (work,) = named(spans, "process heyfleet.thread")
    for span in named(spans, "execute_tool fails"):
        assert (span.parent, span.error, span.service) == (work.id, "failed", "heyfleet-worker")

    risky = fleet.post('[[tools=1 command="date"]] go')
    (question,) = fleet.asked(risky)
    run(fleet, "approvals", "deny", question["id"])
    fleet.finished(risky)
    spans = whole(fleet, collector, trace_of(fleet, risky), "wait for approval", "invoke_agent default")
    assert named(spans, "wait for approval")[0].service == "heyfleet-cli"

    run(fleet, "chat", "[[reply=fine]] hello")
    ((trace,),) = fleet.sql("SELECT trace FROM turn WHERE adapter = 'local'")
    spans = whole(fleet, collector, trace, "receive local", "send heyfleet.thread", "chat gpt-test")
    first = next(span for span in spans if not span.parent)
    assert (first.name, first.service) == ("receive local", "heyfleet-cli")
    assert not any(b"plum" in raw for raw in collector.raw)


def test_a_killed_worker_takes_no_trace_with_it(
    make_fleet: MakeFleet, collector: FakeCollector, model_server: FakeOpenAI
) -> None:
    fleet = make_fleet(web=1, worker=1, config=config(collector, model_server))
    accepted = fleet.post('[[first_token_ms=4000 reply="late"]] go')
    wait_until(lambda: model_server.stats()["requests"] > 0, 20, fleet.logs)
    fleet.of("worker")[0].kill()
    fleet.start("worker")
    assert fleet.finished(accepted)["text"] == "late"
    spans = whole(fleet, collector, trace_of(fleet, accepted), "chat gpt-test", "invoke_agent default")
    # Of the one that lived: its turn is as long as both took.
    (asked,), (agent,) = named(spans, "chat gpt-test"), named(spans, "invoke_agent default")
    assert agent.ended - agent.began > asked.ended - asked.began + 1_000_000_000


def test_what_a_gateway_hears(make_fleet: MakeFleet, collector: FakeCollector, model_server: FakeOpenAI) -> None:
    with serving_telegram() as fake:
        adapter = {"kind": "telegram", "name": "team-chat", "bot_token": fake.token, "api_url": fake.origin}
        fleet = make_fleet(worker=1, gateway=1, config=config(collector, model_server, adapters=[adapter]))
        ann = fake.person("Ann")
        fake.say(fake.private(ann), ann, "hello")
        wait_until(lambda: bool(fleet.sql("SELECT 1 FROM turn")), 20, fleet.logs)
        ((trace,),) = fleet.sql("SELECT trace FROM turn")
        spans = whole(fleet, collector, trace, "chat gpt-test", "invoke_agent default", "deliver team-chat")
    first = next(span for span in spans if not span.parent)
    assert (first.name, first.kind, first.service) == ("receive team-chat", "consumer", "heyfleet-gateway")


def test_without_its_collector_a_fleet_works_and_stops_as_ever(make_fleet: MakeFleet, model_server: FakeOpenAI) -> None:
    nobody = FakeCollector("http://127.0.0.1:9")
    fleet = make_fleet(web=1, worker=1, config=config(nobody, model_server))
    for _ in range(3):
        assert fleet.finished(fleet.post("[[reply=fine]] go"))["text"] == "fine"
    logs = [process.log for process in fleet.processes]
    wait_until(lambda: all("/v1/traces" in log.read_text() for log in logs), 20, fleet.logs)
    for process in fleet.of("worker") + fleet.of("web"):
        assert process.stop(20) == 0, fleet.logs()
    # Told, and not for each batch.
    assert [log.read_text().count("opentelemetry") for log in logs] == [1, 1], fleet.logs()


def test_the_run_of_a_job(make_fleet: MakeFleet, collector: FakeCollector, model_server: FakeOpenAI) -> None:
    fleet = make_fleet(worker=1, beat=1, config=config(collector, model_server, jobs=[local_job("ops")]))
    more_runs(fleet, "ops", more=1)
    ((trace,),) = fleet.sql("SELECT trace FROM turn WHERE state = 'done' ORDER BY seq LIMIT 1")
    spans = whole(fleet, collector, trace, "start job ops", "send heyfleet.thread", "invoke_agent default")
    first = next(span for span in spans if not span.parent)
    assert (first.name, first.service) == ("start job ops", "heyfleet-worker")
