"""What a fleet tells Prometheus, over several gunicorn processes, a worker and a runner."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import Fleet, wait_until
from tests.e2e.test_jobs import figures_of
from tests.fakes import openai


def test_one_scrape_has_what_all_processes_of_the_host_did(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=2, runner=1, config={"http": {"workers": 3}})
    for n in range(6):
        assert fleet.post(f"run: echo {n}", sync=True)["status"] == "done", fleet.logs()
    assert fleet.post("hello", sync=True)["status"] == "done"
    found = figures_of(fleet)
    assert found['heyfleet_messages_total{adapter="internal",outcome="accepted"}'] == 7
    assert found['heyfleet_turns_total{adapter="internal",state="done"}'] == 7
    assert found['heyfleet_turn_seconds_count{adapter="internal"}'] == 7
    assert found['heyfleet_turn_start_seconds_count{adapter="internal"}'] == 7
    assert found['heyfleet_steps_total{model="demo/echo",outcome="answered"}'] == 13
    assert found['heyfleet_tokens_total{kind="output",model="demo/echo"}'] > 13
    assert found['heyfleet_calls_total{state="done",tool="bash"}'] == 6
    assert found['heyfleet_call_seconds_count{tool="bash"}'] == 6
    assert found['heyfleet_request_seconds_count{route="/webhook/<name>",status="200"}'] == 7
    assert found['heyfleet_wakes_total{outcome="sent",queue="turns"}'] >= 7
    assert found['heyfleet_queue_depth{queue="turns"}'] >= 0
    assert found["heyfleet_postgres_up"] == found["heyfleet_redis_up"] == 1
    # A gunicorn process that dies, and a worker that is killed, leave what they counted.
    fleet.of("worker")[0].kill()
    (web,) = fleet.of("web")
    (child, *_) = Path(f"/proc/{web.popen.pid}/task/{web.popen.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    wait_until(lambda: fleet.get(web, "/health")[0] == 200, 30, fleet.logs)
    assert figures_of(fleet)['heyfleet_turns_total{adapter="internal",state="done"}'] == 7
    assert figures_of(fleet)['heyfleet_messages_total{adapter="internal",outcome="accepted"}'] == 7


def test_processes_and_their_state_are_told(make_fleet: MakeFleet) -> None:
    fleet: Fleet = make_fleet(web=1, worker=1, beat=1)

    def works(kind: str) -> float:
        return figures_of(fleet).get(f'heyfleet_processes{{kind="{kind}",state="works"}}', 0)

    wait_until(lambda: works("worker") == works("beat") == works("web") == 1, 30, fleet.logs)
    (worker,) = fleet.of("worker")
    assert worker.stop() == 0
    wait_until(lambda: works("worker") == 0, 10, fleet.logs)


def test_what_a_summary_costs_is_counted_too(make_fleet: MakeFleet) -> None:
    with openai.start(api_key="sk-test") as server:
        alias = {"model": "openai/m", "base_url": server.base_url, "api_key": "sk-test", "context_window": 1000}
        config = {"models": {"small": alias}, "agents": {"default": {"model": "small"}}}
        fleet = make_fleet(web=1, worker=1, config=config)
        first = fleet.post(f"[[reply=one]] {'word ' * 800}", sync=True)
        assert fleet.post("[[reply=two]] and now?", thread=first["threadId"], sync=True)["status"] == "done"
    for kind in ("input", "output"):
        ((in_steps,),) = fleet.sql(f"SELECT sum({kind}_tokens) FROM step")
        summaries = fleet.sql(f"SELECT data ->> '{kind}_tokens' FROM event WHERE kind = 'transcript_compacted'")
        assert len(summaries) == 1
        wanted = in_steps + int(summaries[0][0])
        assert figures_of(fleet)[f'heyfleet_tokens_total{{kind="{kind}",model="m"}}'] == wanted
