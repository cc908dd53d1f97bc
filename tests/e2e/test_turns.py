"""The way of a turn through real processes, from the request to the callback."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app.cancel import cancel
from app.config.messages import Messages
from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import wait_until
from tests.fakes.receiver import Receiver


def on_host(tmp_path: Path) -> dict[str, Any]:
    """Commands that leave traces outside of their sandbox."""
    return {"runtime": {"name": "host", "workspace": str(tmp_path / "ws")}}


def test_a_message_is_answered_by_callback_and_by_polling(make_fleet: MakeFleet, receiver: Receiver) -> None:
    fleet = make_fleet(web=1, worker=1)
    accepted = fleet.post("hello", replyUrl=receiver.url, eventId="one")
    assert accepted["status"] == "running"
    assert accepted["threadId"].startswith("whth_")
    ended = fleet.finished(accepted)
    assert ended["status"] == "done"
    assert "hello" in ended["text"]
    assert receiver.wait_for(1) == [
        {
            "ok": True,
            "threadId": accepted["threadId"],
            "runId": accepted["runId"],
            "status": "done",
            "text": ended["text"],
        }
    ]
    assert not receiver.problems
    again = fleet.post("hello", replyUrl=receiver.url, eventId="one")
    assert (again["threadId"], again["runId"]) == (accepted["threadId"], accepted["runId"])


def test_sync_answers_with_the_outcome(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1)
    answer = fleet.post("hello", sync=True)
    assert answer["status"] == "done"
    assert "hello" in answer["text"]


def test_a_command_runs_in_the_sandbox_and_its_files_stay(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    first = fleet.post("run: echo kept > note.txt", sync=True)
    assert first["status"] == "done", fleet.logs()
    second = fleet.post("run: cat note.txt", thread=first["threadId"], sync=True)
    assert "kept" in second["text"]
    other = fleet.post("run: cat note.txt", sync=True)
    assert "kept" not in other["text"]


def test_a_sandbox_goes_on_on_another_runner(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    first = fleet.post("run: echo kept > note.txt; X=42", sync=True)
    fleet.of("runner")[0].kill()
    fleet.start("runner")
    second = fleet.post("run: cat note.txt; echo $X", thread=first["threadId"])
    text = fleet.finished(second)["text"]
    assert "kept" in text
    assert "42" in text


def test_files_go_in_with_a_message(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    data = base64.b64encode(b"\x00\x01 binary").decode()
    file = {"name": "../../evil name?.bin", "mediaType": "application/octet-stream", "data": data}
    answer = fleet.post("run: ls inbox; wc -c < inbox/*", sync=True, attachments=[file])
    assert "evil name_.bin" in answer["text"], fleet.logs()
    assert "9" in answer["text"]


def test_the_same_event_at_two_webs_at_once_is_one_turn(make_fleet: MakeFleet, receiver: Receiver) -> None:
    fleet = make_fleet(web=2, worker=1)
    webs = fleet.of("web")
    events = 60
    start = threading.Barrier(4)

    def send(number: int) -> list[tuple[str, str]]:
        answers = []
        for event in range(events):
            start.wait()
            web = webs[number % 2]
            answer = fleet.post(f"event {event}", web=web, eventId=f"event-{event}", replyUrl=receiver.url)
            answers.append((answer["threadId"], answer["runId"]))
        return answers

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, range(4)))
    assert answers[0] == answers[1] == answers[2] == answers[3]
    receiver.wait_for(events)
    assert fleet.sql("SELECT count(*) FROM turn") == [(events,)]
    assert fleet.sql("SELECT count(*) FROM thread") == [(events,)]
    assert fleet.sql("SELECT count(*) FROM message WHERE direction = 'in'") == [(events,)]
    assert len(receiver.got) == events


def test_a_killed_worker_s_turn_goes_on_in_another(make_fleet: MakeFleet, tmp_path: Path, receiver: Receiver) -> None:
    """The only worker dies while the command of its turn runs; no step and no command is done twice."""
    counter = tmp_path / "counter"
    fleet = make_fleet(
        web=1, worker=1, runner=1, config={"runtime": {"name": "host", "workspace": str(tmp_path / "ws")}}
    )
    accepted = fleet.post(f"run: echo x >> {counter}; sleep 2; echo slept", replyUrl=receiver.url)
    wait_until(counter.exists, 20, fleet.logs)
    fleet.of("worker")[0].kill()
    fleet.start("worker")
    ended = fleet.finished(accepted, 20)
    assert "slept" in ended["text"]
    assert counter.read_text() == "x\n"
    assert fleet.sql("SELECT n FROM step ORDER BY n") == [(1,), (2,)]
    receiver.wait_for(1)


def test_a_killed_runner_s_command_is_reported_and_not_run_again(make_fleet: MakeFleet, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    fleet = make_fleet(
        web=1, worker=1, runner=1, config={"runtime": {"name": "host", "workspace": str(tmp_path / "ws")}}
    )
    accepted = fleet.post(f"run: echo x >> {counter}; sleep 60")
    wait_until(counter.exists, 20, fleet.logs)
    fleet.of("runner")[0].kill()
    fleet.start("runner")
    ended = fleet.finished(accepted, 20)
    assert ended["status"] == "done"
    assert "nobody knows" in ended["text"]
    assert counter.read_text() == "x\n"
    assert fleet.sql("SELECT state FROM call") == [("interrupted",)]


def test_sigterm_lets_turns_go_on_elsewhere(make_fleet: MakeFleet, tmp_path: Path) -> None:
    """A rolling restart delays a turn and never fails it."""
    fleet = make_fleet(
        web=1, worker=1, runner=1, config={"runtime": {"name": "host", "workspace": str(tmp_path / "ws")}}
    )
    accepted = [fleet.post(f"run: sleep 1; echo turn {number}") for number in range(5)]
    wait_until(lambda: fleet.sql("SELECT 1 FROM call") != [], 20, fleet.logs)
    old = fleet.of("worker")[0]
    fleet.start("worker")
    assert old.stop() == 0, fleet.logs()
    for number, one in enumerate(accepted):
        assert f"turn {number}" in fleet.finished(one)["text"]
    assert fleet.sql("SELECT DISTINCT state FROM turn") == [("done",)]
    assert fleet.sql("SELECT count(*) FROM call") == [(5,)]


def test_cancel_ends_a_command_and_its_children_within_a_second(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = make_fleet(
        web=1, worker=1, runner=1, config={"runtime": {"name": "host", "workspace": str(tmp_path / "ws")}}
    )
    alive = tmp_path / "alive"
    accepted = fleet.post(f"run: (while true; do date +%s%N > {alive}; sleep 0.05; done) & sleep 60")
    wait_until(alive.exists, 20, fleet.logs)
    assert cancel(fleet.db, accepted["runId"], "grace", adapters={}, texts=Messages())
    ended = fleet.finished(accepted, 10)
    assert ended["status"] == "cancelled"
    assert "grace" in ended["text"]
    wait_until(lambda: fleet.sql("SELECT state FROM call") == [("cancelled",)], 5, fleet.logs)
    last = alive.read_text()
    threading.Event().wait(0.3)
    assert alive.read_text() == last, "the command's child still lives"


def test_a_second_message_steers_the_running_turn(make_fleet: MakeFleet, tmp_path: Path, receiver: Receiver) -> None:
    fleet = make_fleet(
        web=1, worker=1, runner=1, config={"runtime": {"name": "host", "workspace": str(tmp_path / "ws")}}
    )
    started = tmp_path / "started"
    first = fleet.post(f"run: touch {started}; sleep 1; echo first", replyUrl=receiver.url)
    wait_until(started.exists, 20, fleet.logs)
    second = fleet.post("and this too", thread=first["threadId"], replyUrl=receiver.url)
    assert second["runId"] != first["runId"]
    ended = fleet.finished(second)
    assert ended["status"] == "done"
    assert fleet.finished(first)["text"] == ended["text"]
    assert fleet.sql("SELECT count(*) FROM turn WHERE absorbed_by IS NOT NULL") == [(1,)]
    assert {body["runId"] for body in receiver.wait_for(2)} == {first["runId"], second["runId"]}
