"""Jobs of a real fleet: beats killed, stopped and started in numbers, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from app.jobs.records import BUSY
from app.leader import Leader, leader
from tests.e2e.conftest import MakeFleet
from tests.e2e.due_times import assert_each_due_time_has_one_outcome, local_job, more_runs, runs_of
from tests.e2e.fleet import Fleet, Process, wait_until
from tests.e2e.test_cli import as_json, run


def leading(fleet: Fleet) -> Leader | None:
    return leader(redis.Redis.from_url(fleet.redis_url))


def leader_of(fleet: Fleet) -> Process:
    """The beat that leads, waiting until one does."""
    wait_until(lambda: leading(fleet) is not None, 20, lambda: f"nobody leads\n{fleet.logs()}")
    found = leading(fleet)
    assert found
    (process,) = [process for process in fleet.of("beat") if f"beat {process.popen.pid} " in found.owner]
    return process


def test_a_killed_leader_is_followed_by_another_and_no_due_time_is_lost_or_doubled(make_fleet: MakeFleet) -> None:
    jobs = [local_job("ops"), local_job("every", max_catch_up="all"), local_job("beat", "2s", scope={"local": {}})]
    fleet = make_fleet(worker=1, beat=2, config={"jobs": jobs})
    for _ in range(2):
        more_runs(fleet, "ops")
        process = leader_of(fleet)
        process.kill()
        more_runs(fleet, "ops", 20)
        fleet.again(process)
    more_runs(fleet, "beat", 30, 1)
    assert assert_each_due_time_has_one_outcome(fleet) > 10
    skipped = """
        SELECT DISTINCT reason FROM occurrence JOIN job ON job.id = job_id
        WHERE name = 'every' AND outcome = 'skipped'"""
    assert set(fleet.sql(skipped)) <= {(BUSY,)}, "none was given up for being late"
    kinds = fleet.sql("SELECT kind, count(*) FROM event WHERE kind LIKE 'beat_%' GROUP BY 1")
    assert dict(kinds)["beat_leads"] >= 3


def test_beats_that_all_believe_to_lead_fire_each_due_time_once(make_fleet: MakeFleet) -> None:
    """Three at once: two without a lease at all, and one that lost its lease while it stood still."""
    jobs = [local_job("ops"), local_job("beat", "1s", scope={"local": {}})]
    fleet = make_fleet(worker=1, beat=1, config={"jobs": jobs})
    more_runs(fleet, "ops")
    stale = leader_of(fleet)
    for kind in ("beat-without-lease", "beat-without-lease", "beat"):
        fleet.start(kind)
    stale.popen.send_signal(signal.SIGSTOP)
    wait_until(lambda: leader_is_not(fleet, stale), 20, fleet.logs)
    more_runs(fleet, "ops", 30, 3)
    stale.popen.send_signal(signal.SIGCONT)
    more_runs(fleet, "ops", 30, 3)
    more_runs(fleet, "beat", 30, 2)
    assert assert_each_due_time_has_one_outcome(fleet) > 10


def leader_is_not(fleet: Fleet, process: Process) -> bool:
    found = leading(fleet)
    return found is not None and f"beat {process.popen.pid} " not in found.owner


def test_a_stopped_leader_hands_over_at_once(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(beat=2, config={"lease": {"ttl": "60s", "renew": "20s", "sweep": "1s"}})
    first = leader_of(fleet)
    assert first.stop() == 0
    wait_until(lambda: leader_is_not(fleet, first), 10, fleet.logs)


def refused(fleet: Fleet, *arguments: str, code: int = 1) -> list[str]:
    """What a beat says that does not start."""
    found = subprocess.run(
        [sys.executable, "-m", "beat", *arguments],
        cwd=fleet.folder,
        env=fleet.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == code, found.stderr
    return found.stderr.splitlines()


def test_a_beat_that_can_t_know_all_jobs_does_not_start(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(config={"agents": {"default": {"path": "./nowhere"}}})
    (told,) = refused(fleet)
    assert told == f"agents.default.path: there is no folder {fleet.folder}/nowhere; make it, or correct the path"
    assert refused(fleet, "--witout-lease", code=2)[0] == "usage: python -m beat [--without-lease]"


def test_without_watching_an_edit_is_taken_up_when_the_beat_is_told_to(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(beat=1, config={"watch": False, "jobs": [local_job("ops", "1h")]})
    (beat,) = fleet.of("beat")
    wait_until(lambda: fleet.sql("SELECT name FROM job") == [("ops",)], 20, fleet.logs)
    folder = fleet.folder / "agent" / "jobs"
    folder.mkdir(parents=True)
    (folder / "new.yaml").write_text("kind: cron\nevery: 1h\ntargets: {local: {channels: [ops]}}\nprompt: hi\n")
    beat.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: fleet.sql("SELECT name FROM job ORDER BY name") == [("new",), ("ops",)], 20, fleet.logs)
    assert beat.alive


def test_a_wrong_job_is_refused_at_start_with_all_others(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    folder = fleet.folder / "agent" / "jobs"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("kind: cron\nevery: 1h\nprompt: hi\n")
    (folder / "b.yaml").write_text("kind: cron\nevery: 1h\ntargets: {internal: {users: [ada]}}\nprompt: hi\n")
    first, second = refused(fleet)
    assert first == "agent/jobs/a.yaml: job a: a cron job needs targets, such as targets: {local: {channels: [ops]}}"
    assert second.startswith("agent/jobs/b.yaml:3: targets.internal: job b: a webhook adapter can't be spoken to first")
    told = json.loads(run(fleet, "doctor", "--json", code=1).stdout)
    assert [finding["said"] for finding in told] == [first, second]


def test_jobs_by_hand(make_fleet: MakeFleet) -> None:
    jobs = [local_job("ops", "1h"), local_job("other", "1h", state="active")]
    fleet = make_fleet(worker=1, beat=1, config={"jobs": jobs})
    wait_until(lambda: len(as_json(fleet, "jobs", "list")) == 2, 20, fleet.logs)
    listed = {job["id"]: job for job in as_json(fleet, "jobs", "list")}
    assert (listed["ops"]["state"], listed["ops"]["schedule"], listed["ops"]["where"]) == (
        "active",
        "every 1h",
        "local:ops",
    )
    assert run(fleet, "jobs", "run", "ops").stdout == "1 run of ops queued\n"
    wait_until(lambda: runs_of(fleet, "ops") == 1, 20, fleet.logs)
    (ran,) = as_json(fleet, "jobs", "history", "ops")
    keys = ["id", "job_id", "due_at", "target", "state", "delivery_state", "started_at", "ended_at", "error"]
    assert list(ran) == keys
    assert (ran["job_id"], ran["target"], ran["state"], ran["error"]) == ("ops", "local:ops", "done", None)
    wait_until(lambda: as_json(fleet, "jobs", "history", "ops")[0]["delivery_state"] == "delivered", 20, fleet.logs)

    assert run(fleet, "jobs", "pause", "ops").stdout == "job ops is paused\n"
    assert "is paused already" in run(fleet, "jobs", "pause", "ops", code=1).stderr
    assert as_json(fleet, "jobs", "show", "ops")["state"] == "paused"
    assert "job ops is active; due next at 20" in run(fleet, "jobs", "resume", "ops").stdout
    assert "is not paused" in run(fleet, "jobs", "resume", "ops", code=1).stderr
    paused = run(fleet, "jobs", "pause", "other", "--json")
    assert json.loads(paused.stdout) == {"id": "other", "agent": "default", "state": "paused", "skipped": 0}
    assert "only until a beat begins to lead: its configuration sets state: active" in paused.stderr
    resumed = run(fleet, "jobs", "resume", "other", "--json")
    assert json.loads(resumed.stdout)["state"] == "active"
    assert resumed.stderr == ""
    asked = json.loads(run(fleet, "jobs", "run", "other", "--json").stdout)
    assert asked == {"id": "other", "agent": "default", "queued": 1, "passed_over": 0}
    assert "(the first 1; --limit shows more)" in run(fleet, "jobs", "list", "--limit", "1").stderr
    assert "there is no job opps; see heyfleet jobs list" in run(fleet, "jobs", "run", "opps", code=1).stderr
    assert run(fleet, "jobs", "show", "ops").stdout.startswith("id            ops\n")

    status = as_json(fleet, "status")
    assert (status["jobs"]["active"], status["jobs"]["paused"]) == (2, 0)
    assert set(status["beat"]) == {"leader", "since", "looked"}
    assert "leader" in run(fleet, "status").stdout


def test_figures_show_who_leads_and_how_late_jobs_are(make_fleet: MakeFleet) -> None:
    jobs = [local_job("ops"), local_job("none", scope={"local": {"teams": ["T1"]}})]
    fleet = make_fleet(web=1, worker=1, beat=1, config={"jobs": jobs})
    more_runs(fleet, "ops")
    figures = figures_of(fleet)
    assert figures["heyfleet_beat_leaders"] == 1
    (since,) = [value for name, value in figures.items() if name.startswith("heyfleet_beat_leads_since{owner=")]
    found = leading(fleet)
    assert found
    assert since == found.since.timestamp()
    assert figures['heyfleet_job_due_times_hour{state="ran"}'] >= 2
    assert figures['heyfleet_job_due_times_hour{state="skipped"}'] >= 1
    assert 0 <= figures['heyfleet_job_latest_seconds{state="ran"}'] <= 10
    leader_of(fleet).kill()
    redis.Redis.from_url(fleet.redis_url).flushall()
    assert figures_of(fleet)["heyfleet_beat_leaders"] == 0
    due = 'heyfleet_job_due_seconds{state="targets"}'
    wait_until(lambda: figures_of(fleet).get(due, 0) > 1, 20, fleet.logs)


def figures_of(fleet: Fleet) -> dict[str, float]:
    (web,) = fleet.of("web")
    with urllib.request.urlopen(f"http://127.0.0.1:{web.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def ended(chat: subprocess.Popen[bytes], terminal: int) -> bool:
    """Ctrl-D counts at the prompt only, so it is typed again until it was."""
    with suppress(OSError):  # it has just ended
        os.write(terminal, b"\x04")
    return chat.poll() is not None


def test_with_several_agents_a_change_says_whose(make_fleet: MakeFleet) -> None:
    config: dict[str, Any] = {
        "agents": {"default": {}, "second": {}},
        "jobs": [local_job("ops", "1h", agent="default")],
    }
    fleet = make_fleet(beat=1, config=config)
    wait_until(lambda: len(as_json(fleet, "jobs", "list")) == 1, 20, fleet.logs)
    for verb in ("run", "pause", "resume"):
        told = run(fleet, "jobs", verb, "ops", code=1).stderr
        assert "there are several agents: say whose job with --agent (default, second)" in told
    assert run(fleet, "jobs", "pause", "ops", "--agent", "default").stdout == "job ops is paused\n"
    assert "there is no job ops of second" in run(fleet, "jobs", "pause", "ops", "--agent", "second", code=1).stderr


def test_an_edited_job_is_taken_up_and_one_that_is_gone_is_paused(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(worker=1, beat=1)
    folder = fleet.folder / "agent" / "jobs"
    folder.mkdir(parents=True)
    job = folder / "ops.yaml"
    job.write_text("kind: cron\nevery: 1s\ntargets: {local: {channels: [ops]}}\nprompt: 'say: one'\n")
    more_runs(fleet, "ops")
    job.write_text("kind: cron\nevery: 1s\ntargets: {local: {channels: [ops]}}\nprompt: ''\n")
    more_runs(fleet, "ops")
    job.write_text("kind: cron\nevery: 1s\ntargets: {local: {channels: [ops]}}\nprompt: 'say: two'\n")
    said = "SELECT count(*) FROM message WHERE direction = 'out' AND text = 'two'"
    wait_until(lambda: fleet.sql(said)[0][0] > 0, 20, fleet.logs)
    job.unlink()
    wait_until(lambda: fleet.sql("SELECT state, paused_by FROM job") == [("paused", "config")], 20, fleet.logs)
    assert_each_due_time_has_one_outcome(fleet)


def test_what_a_job_says_is_seen_in_a_chat(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = make_fleet(worker=1, beat=1, config={"jobs": [local_job("ops")]})
    seen = tmp_path / "seen"
    with seen.open("wb") as output:
        chat = subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "chat", "--thread", "ops", "--follow"],
            cwd=fleet.folder,
            env=fleet.environment,
            stdout=output,
            # Whoever runs the tests in the background has it ignored, which would be inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
    try:
        wait_until(lambda: seen.read_text().count("[ops] ops\n") >= 2, 30, fleet.logs)
    finally:
        chat.send_signal(signal.SIGINT)
        assert chat.wait(20) == 0
    told = run(fleet, "chat", "--follow", code=1).stderr
    assert "name it with --thread" in told


def test_news_appear_above_what_is_being_typed(make_fleet: MakeFleet) -> None:
    """At a terminal: what a job says comes while a line is being typed, and the line is sent whole."""
    fleet = make_fleet(worker=1, beat=1, config={"jobs": [local_job("ops")]})
    more_runs(fleet, "ops", more=1)
    main, terminal = os.openpty()
    chat = subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", "chat", "--thread", "ops"],
        cwd=fleet.folder,
        env={**fleet.environment, "TERM": "dumb"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    os.set_blocking(main, False)
    shown = bytearray()

    def shows(text: str) -> bool:
        with suppress(BlockingIOError):  # nothing new
            shown.extend(os.read(main, 65536))
        return text in shown.decode(errors="replace")

    try:
        wait_until(lambda: shows("[ops] ops"), 30, lambda: f"{shown!r}\n{fleet.logs()}")
        os.write(main, b"hello ")
        before = shown.count(b"[ops] ops")
        wait_until(lambda: shows("") and shown.count(b"[ops] ops") > before, 30, lambda: repr(shown))
        os.write(main, b"there\r")
        wait_until(lambda: shows("You said: hello there"), 30, lambda: repr(shown))
        wait_until(lambda: ended(chat, main), 30, lambda: repr(shown))
        assert chat.returncode == 0
    finally:
        chat.kill()
        chat.wait()
        os.close(main)
