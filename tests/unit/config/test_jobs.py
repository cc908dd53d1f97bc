"""Jobs as people write them: what is meant, and what each wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config.jobs import JobSpec
from app.config.load import load
from app.config.watch import LiveSettings
from tests.unit.config.conftest import Problems, Read

JOB: dict[str, Any] = {
    "id": "daily",
    "kind": "cron",
    "schedule": {"cron": "0 9 * * *"},
    "targets": {"local": {"channels": ["ops"]}},
    "prompt": "hello",
}
BEAT: dict[str, Any] = {"id": "round", "kind": "heartbeat", "every": "1h", "scope": {"local": {}}, "prompt": "hello"}
ADAPTERS = [{"kind": "local", "name": "local"}, {"kind": "webhook", "name": "internal", "secret": "s"}]


def written(*jobs: Any, **more: Any) -> str:
    return yaml.safe_dump({"adapters": ADAPTERS, "jobs": list(jobs), **more})


def but(job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The job with changes; a None takes a field out."""
    return {name: value for name, value in {**job, **changes}.items() if value is not None}


def test_what_a_job_means(read: Read) -> None:
    targets = {"local": {"channels": ["ops", "dev", "ops"], "users": ["ada"]}}
    (job,) = read(written(but(JOB, targets=targets, max_catch_up="all", state="paused", model="demo/echo"))).jobs
    assert job == JobSpec(
        agent="default",
        name="daily",
        kind="cron",
        schedule={"cron": "0 9 * * *", "timezone": "UTC"},
        targets=(
            {"adapter": "local", "kind": "channel", "name": "ops"},
            {"adapter": "local", "kind": "channel", "name": "dev"},
            {"adapter": "local", "kind": "user", "name": "ada"},
        ),
        scope=None,
        idle=None,
        prompt="hello",
        model="demo/echo",
        max_catch_up="all",
        state="paused",
    )


@pytest.mark.parametrize(
    ("schedule", "meant"),
    [
        ({"every": "1h30m"}, {"every": 5400.0}),
        (
            {"cron": " 0  9 * * mon-fri", "timezone": "Asia/Tokyo"},
            {"cron": "0 9 * * mon-fri", "timezone": "Asia/Tokyo"},
        ),
        ({"cron": "@daily"}, {"cron": "@daily", "timezone": "UTC"}),
        ({"at": "2026-12-01T09:00:00+01:00"}, {"at": "2026-12-01T08:00:00+00:00"}),
        ({"at": "2026-12-01 09:00", "timezone": "Asia/Tokyo"}, {"at": "2026-12-01T00:00:00+00:00"}),
        ({"at": "2026-12-01T09:00:00Z"}, {"at": "2026-12-01T09:00:00+00:00"}),
        # In the hour that is skipped there: after it.
        ({"at": "2026-03-08T02:30", "timezone": "America/New_York"}, {"at": "2026-03-08T07:00:00+00:00"}),
    ],
)
def test_schedules(read: Read, schedule: dict[str, Any], meant: dict[str, Any]) -> None:
    (job,) = read(written(but(JOB, schedule=schedule))).jobs
    assert job.schedule == meant


def test_a_heartbeat_over_threads(read: Read) -> None:
    (job,) = read(written(but(BEAT, idle="8h", scope={"local": {"teams": ["T1"], "users": ["ada"]}}))).jobs
    assert job.schedule == {"every": 3600.0}
    assert job.targets is None
    assert job.scope == {"local": {"teams": ["T1"], "channels": None, "users": ["ada"]}}
    assert job.idle == 8 * 3600


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (but(JOB, targets=None), ": job daily: a cron job needs targets, such as targets: {local: {channels: [ops]}}"),
        (
            but(JOB, scope={"local": {}}),
            ".scope: job daily: is for heartbeats; name the places of a cron job in targets",
        ),
        (but(JOB, idle="1h"), ".idle: job daily: is for heartbeats with scope; leave it out"),
        (but(JOB, every="1h"), ".every: job daily: can't stand beside schedule; keep one of the two"),
        (but(JOB, schedule=None), ': job daily: needs a schedule, such as every: 24h or schedule: {cron: "0 9 * * 1"}'),
        (but(JOB, schedule={}), ".schedule: job daily: needs one of at, every and cron"),
        (
            but(JOB, schedule={"every": "1h", "cron": "* * * * *"}),
            ".schedule: job daily: has every and cron; keep one of them",
        ),
        (but(JOB, schedule={"every": "500ms"}), ".schedule.every: job daily: must be at least 1"),
        (
            but(JOB, schedule={"every": "1h", "timezone": "UTC"}),
            ".schedule.timezone: job daily: means nothing to every; leave it out",
        ),
        (
            but(JOB, schedule={"cron": "0 9 * * *", "timezone": "Europe/Berln"}),
            ".schedule.timezone: job daily: there is no such time zone; did you mean Europe/Berlin?",
        ),
        (
            but(JOB, schedule={"cron": "9 * * *"}),
            ".schedule.cron: job daily: has 4 fields and needs 5: minute, hour, day, month, weekday",
        ),
        (but(JOB, schedule={"cron": "R 9 * * *"}), ".schedule.cron: job daily: has a field that is no cron field: R"),
        (but(JOB, schedule={"cron": "H 9 * * *"}), ".schedule.cron: job daily: has a field that is no cron field: H"),
        (but(JOB, schedule={"cron": "@reboot"}), ".schedule.cron: job daily: there is no such shorthand; known here:"),
        (but(JOB, schedule={"cron": "61 9 * * *"}), ".schedule.cron: job daily: is no cron expression (["),
        (
            but(JOB, schedule={"cron": "0 0 30 2 *"}),
            ".schedule.cron: job daily: names a day that never comes; correct day and month",
        ),
        (but(JOB, schedule={"at": "tomorrow"}), ".schedule.at: job daily: is no time; write it as 2026-12-01T09:00"),
        (but(JOB, targets={}), ".targets: job daily: names no adapter; put one in"),
        (but(JOB, targets={"local": {}}), ".targets.local: job daily: names nobody; add channels or users"),
        (
            but(JOB, targets={"locla": {"channels": ["a"]}}),
            ".targets.locla: job daily: there is no adapter of this name; did you mean local?",
        ),
        (
            but(JOB, targets={"internal": {"channels": ["a"]}}),
            ".targets.internal: job daily: a webhook adapter can't be spoken to first: it only answers;",
        ),
        (but(JOB, targets={"local": {"channels": [""]}}), ".targets.local.channels[0]: job daily: must not be empty"),
        (but(JOB, prompt=" "), ".prompt: job daily: must not be empty"),
        (but(JOB, id="a b"), ".id: job a b: must match"),
        (but(JOB, agent="nobody"), ".agent: job daily: there is no agent of this name; known here: default"),
        (but(JOB, model="gpt"), ".model: job daily: must be provider/name, such as openai/gpt-5.4-mini"),
        (but(JOB, max_catch_up=2), ".max_catch_up: job daily: must be one of 0, 1, all"),
        (
            but(JOB, max_catch_up=True),
            ".max_catch_up: job daily: must be one of 0, 1, all; YAML reads yes, no, on and off",
        ),
        (but(BEAT, scope={"local": {"teams": []}}), ".scope.local.teams: job round: must not be empty"),
        (but(JOB, targets={"local": {"channels": ["a\0b"]}}), ".targets.local.channels[0]: job daily: must match"),
        (
            but(JOB, schedule={"at": "2026-12-01T09:00+05:00", "timezone": "Europe/Berlin"}),
            ".schedule.timezone: job daily: means nothing to a time with an offset of its own;",
        ),
        (
            but(JOB, schedule={"cron": "@daily", "timezone": "localtime"}),
            ".schedule.timezone: job daily: there is no such time zone;",
        ),
        (but(JOB, colour="red"), ".colour: job daily: there is no such key; known here: agent, every, id, idle,"),
        (
            but(BEAT, targets={"local": {"users": ["ada"]}}),
            ".scope: job round: can't stand beside targets; keep one of the two",
        ),
        (but(BEAT, scope=None), ": job round: a heartbeat needs targets or scope, such as scope: {local: {}}"),
        (
            but(BEAT, scope=None, idle="1h", targets={"local": {"users": ["ada"]}}),
            ".idle: job round: is for heartbeats with scope; leave it out",
        ),
        (
            but(BEAT, scope={"internal": {}}),
            ".scope.internal: job round: a webhook adapter can't be spoken to first: it only answers;",
        ),
    ],
)
def test_each_broken_rule_is_one_error_with_its_job_and_its_line(problems: Problems, job: Any, told: str) -> None:
    (problem,) = problems(written(job))
    assert problem.startswith("heyfleet.yaml:")
    assert f": jobs[0]{told}" in problem


def test_all_of_them_at_once_and_with_all_other_errors(problems: Problems, tmp_path: Path) -> None:
    folder = tmp_path / "agent" / "jobs" / "deep"
    folder.mkdir(parents=True)
    (folder / "weekly.yaml").write_text("kind: cron\nprompt: hi\nevery: soon\ntargets: {local: {users: [ada]}}\n")
    (folder / "broken.yaml").write_text("kind: [\n")
    assert problems(written(but(JOB, prompt=""), but(BEAT, idle="x"), drain="soon")) == [
        "agent/jobs/deep/weekly.yaml:3: every: job weekly: 'soon' is no duration: write it as 30s, 5m or 1h30m",
        "heyfleet.yaml:7: drain: 'soon' is no duration: write it as 30s, 5m or 1h30m",
        "heyfleet.yaml:11: jobs[0].prompt: job daily: must not be empty",
        "heyfleet.yaml:20: jobs[1].idle: job round: 'x' is no duration: write it as 30s, 5m or 1h30m",
        "agent/jobs/deep/broken.yaml:2:1: is no YAML: expected the node content, but found '<stream end>'",
    ]


def test_one_id_twice_names_both_places(problems: Problems, tmp_path: Path) -> None:
    folder = tmp_path / "agent" / "jobs"
    folder.mkdir(parents=True)
    (folder / "daily.yaml").write_text(yaml.safe_dump(but(JOB, id=None)))
    (problem,) = problems(written(JOB))
    said = "id: job daily: is the id of another job of this agent, at heyfleet.yaml:8; keep one"
    assert problem == f"agent/jobs/daily.yaml: {said}"


def test_two_agents_may_use_one_id_and_each_job_says_whose_it_is(read: Read, problems: Problems) -> None:
    adapters = [{"kind": "local", "name": "local"}, {"kind": "local", "name": "other", "agent": "second"}]
    more = {"agents": {"default": {}, "second": {}}, "adapters": adapters}
    there = {"other": {"users": ["ada"]}}
    found = read(written(but(JOB, agent="default"), but(JOB, agent="second", targets=there), **more)).jobs
    assert [(job.agent, job.name) for job in found] == [("default", "daily"), ("second", "daily")]
    (problem,) = problems(written(JOB, **more))
    assert "job daily: must say whose job it is; add agent: with one of default, second" in problem
    (problem,) = problems(written(but(JOB, agent="second"), **more))
    assert "targets.local: job daily: belongs to the agent default, and this is a job of second" in problem


def test_a_file_of_an_agent_s_folder_is_a_job_named_like_the_file(read: Read, tmp_path: Path) -> None:
    for name in ("b.yaml", "a/z.yml", ".hidden.yaml", "..data/c.yaml", "notes.md"):
        path = tmp_path / "agent" / "jobs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(but(JOB, id=None, prompt="hello ${WHO}")))
    found = read(written(BEAT), {"WHO": "ada"}).jobs
    assert [(job.name, job.prompt) for job in found] == [("round", "hello"), ("b", "hello ada"), ("z", "hello ada")]


def test_a_file_can_t_be_another_agent_s_job(problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "agent" / "jobs").mkdir(parents=True)
    (tmp_path / "agent" / "jobs" / "daily.yaml").write_text(yaml.safe_dump({**JOB, "agent": "default"}))
    (problem,) = problems("{}")
    assert problem.endswith("agent: job daily: is the one whose folder this lies in; leave agent out")


def test_limits_stand_beside_the_jobs(read: Read) -> None:
    section = {"max_concurrent": 3, "define": [JOB]}
    found = read(yaml.safe_dump({"jobs": section})).settings.jobs
    assert (found.max_concurrent, len(found.define)) == (3, 1)
    found = read(yaml.safe_dump({"jobs": [JOB]}), {"HEYFLEET_JOBS__MAX_CONCURRENT": "4"}).settings.jobs
    assert (found.max_concurrent, len(found.define)) == (4, 1)


def test_an_edited_job_is_seen_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    file, job = tmp_path / "heyfleet.yaml", tmp_path / "agent" / "jobs" / "daily.yaml"
    job.parent.mkdir(parents=True)
    file.write_text("{}")
    live = LiveSettings(load(file, {}), lambda: load(file, {}), iter(range(0, 1000, 10)).__next__)
    assert live.jobs() == []
    job.write_text(yaml.safe_dump(JOB))
    (first,) = live.jobs()
    assert live.jobs()[0] is first, "what did not change is not read again"
    job.write_text(yaml.safe_dump(but(JOB, prompt="")))
    assert live.jobs()[0] is first
    job.write_text(yaml.safe_dump(but(JOB, prompt="another one")))
    assert [found.prompt for found in live.jobs()] == ["another one"]
    job.unlink()
    assert live.jobs() == []


def test_a_folder_that_can_t_be_read_is_not_one_without_jobs(tmp_path: Path, problems: Problems) -> None:
    folder = tmp_path / "agent" / "jobs"
    folder.parent.mkdir()
    folder.write_text("not a folder")
    (problem,) = problems("{}")
    assert problem.startswith(f"{folder}: can't be read (Not a directory)")
