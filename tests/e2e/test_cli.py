"""The command line, as a person and as a program use it, against a running fleet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import Fleet, wait_until
from tests.fakes.receiver import Receiver


def run(fleet: Fleet, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`heyfleet …` in the fleet's folder; fails unless it ends with `code`."""
    command = [sys.executable, "-m", "app.cli.main", *arguments]
    found = subprocess.run(
        command, cwd=fleet.folder, env=fleet.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == code, (arguments, found.stdout, found.stderr)
    return found


def as_json(fleet: Fleet, *arguments: str) -> Any:
    return json.loads(run(fleet, *arguments, "--json").stdout)


def test_what_happened_can_be_seen(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    said = run(fleet, "chat", "--thread", "mine", "run: echo seen").stdout
    assert "seen" in said, fleet.logs()

    (thread,) = as_json(fleet, "threads")
    assert (thread["adapter"], thread["key"], thread["turns"], thread["open_turns"]) == ("local", "mine", 1, 0)
    story = as_json(fleet, "thread", thread["id"])
    assert [item.get("tool", item.get("direction")) for item in story] == ["in", "bash", "out"]
    assert "bash" in run(fleet, "thread", thread["id"]).stdout

    (turn,) = as_json(fleet, "turns")
    assert (turn["state"], turn["step_count"]) == ("done", 2)
    kinds = [event["kind"] for event in as_json(fleet, "events", "--turn", turn["id"])]
    assert kinds == ["message_accepted", "call_done", "turn_finished", "delivery_sent"]
    trace = as_json(fleet, "events", "--turn", turn["id"])[0]["trace"]
    assert [event["kind"] for event in as_json(fleet, "events", "--trace", trace)] == kinds

    status = as_json(fleet, "status")
    assert any(one.startswith("worker ") and one.endswith("(works)") for one in status["processes"])
    assert status["turns"] == {"queued": 0, "running": 0, "waiting": 0}
    assert run(fleet, "status").stdout.startswith("turns")
    assert "up to date" in run(fleet, "db", "check").stdout
    assert {finding["level"] for finding in as_json(fleet, "doctor")} <= {"ok", "warning"}


def test_a_failed_delivery_is_seen_and_sent_again(make_fleet: MakeFleet, receiver: Receiver) -> None:
    receiver.plan += ["400"]
    fleet = make_fleet(web=1, worker=1)
    fleet.post("hello", replyUrl=receiver.url)
    wait_until(lambda: as_json(fleet, "deliveries", "list", "--state", "failed") != [], 20, fleet.logs)
    (failed,) = as_json(fleet, "deliveries", "list", "--state", "failed")
    assert failed["error"] == "HTTP 400"
    assert "is sent again" in run(fleet, "deliveries", "retry", failed["id"]).stdout
    receiver.wait_for(1)
    wait_until(lambda: as_json(fleet, "deliveries", "list")[0]["state"] == "sent", 20, fleet.logs)
    again = run(fleet, "deliveries", "retry", failed["id"], code=1)
    assert again.stderr.count("\n") == 1
    assert "neither failed nor ambiguous" in again.stderr


def test_an_edit_takes_effect_at_the_next_turn_and_a_broken_one_does_not(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, config={"watch": False, "messages": {"failed": "first: {reason}"}})
    file = fleet.folder / "heyfleet.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["agents"] = {"default": {"model": "no-such/model"}}
    assert fleet.post("hello", sync=True)["status"] == "done"

    def reload(text: str, word: str) -> None:
        file.write_text(text)
        worker = fleet.of("worker")[0]
        os.kill(worker.popen.pid, signal.SIGHUP)

        def heard() -> bool:
            fleet.post("hello", sync=True)
            return word in worker.log.read_text()

        wait_until(heard, 20, fleet.logs)

    reload("task: {max_stepz: 1}", "config_refused")
    assert fleet.post("hello", sync=True)["status"] == "done"
    settings["agents"] = {"default": {"model": "demo/other"}}
    reload(yaml.safe_dump(settings), "config_reloaded")
    assert fleet.post("hello", sync=True)["status"] == "done"
    assert ("demo/other",) in fleet.sql("SELECT DISTINCT model FROM step")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["thread", "nope"], 1, "no thread id"),
        (["thread", "01a1fd18-5077-7bdc-9ce4-2d8dabd86e50"], 1, "there is no thread"),
        (["turns", "cancel", "01a1fd18-5077-7bdc-9ce4-2d8dabd86e50"], 1, "there is no turn"),
        (["nope"], 2, "No such command"),
        (["turns", "--state", "sleeping"], 2, "sleeping"),
        (["--config", "missing.yaml", "turns"], 1, "there is no such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, database_url: str, redis_url: str, arguments: list[str], code: int, says: str
) -> None:
    fleet = Fleet(tmp_path, database_url, redis_url)
    try:
        found = run(fleet, *arguments, code=code)
    finally:
        fleet.close()
    assert says in found.stderr
    assert "Traceback" not in found.stderr
    assert found.stdout == ""
