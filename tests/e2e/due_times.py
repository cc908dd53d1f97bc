"""What must hold of every job of a fleet, whatever was done to its beats."""

from __future__ import annotations

from typing import Any

from app.timetable import timetable
from tests.e2e.fleet import Fleet, wait_until

TWICE = "SELECT job_id, due_at, target FROM job_run GROUP BY 1, 2, 3 HAVING count(*) > 1"
TURNS = """
    SELECT job_run.id, count(turn.id) FROM job_run LEFT JOIN turn ON turn.job ->> 'run' = CAST(job_run.id AS text)
    WHERE job_run.state IN ('done', 'failed') GROUP BY 1 HAVING count(turn.id) <> 1"""


def local_job(name: str, every: str = "1s", **more: Any) -> dict[str, Any]:
    """A job of a fleet's configuration, with a target of the local adapter unless it has a scope."""
    reach = {} if "scope" in more else {"targets": {"local": {"channels": [name]}}}
    kind = "heartbeat" if "scope" in more else "cron"
    return {"id": name, "kind": kind, "every": every, "prompt": f"say: {name}", **reach, **more}


def assert_each_due_time_has_one_outcome(fleet: Fleet) -> int:
    """No due time is missing, none has two outcomes, and no run has two turns. How many due times there were."""
    assert fleet.sql(TWICE) == []
    assert fleet.sql(TURNS) == []
    total = 0
    for job, schedule, anchor, next_at in fleet.sql("SELECT id, schedule, anchor, next_at FROM job"):
        table, wanted = timetable(schedule, anchor), list[Any]()
        due = table.after(anchor)
        while due is not None and (next_at is None or due < next_at):
            wanted.append(due)
            due = table.after(due)
        ranges = fleet.sql(
            "SELECT due_at, last_at FROM occurrence WHERE job_id = :job ORDER BY due_at",
            job=job,
        )
        covered = [due for first, last in ranges for due in wanted if first <= due <= last]
        assert covered == wanted
        total += len(wanted)
    return total


def runs_of(fleet: Fleet, job: str, state: str = "done") -> int:
    statement = """
        SELECT count(*) FROM job_run JOIN job ON job.id = job_id WHERE name = :job AND job_run.state = :state"""
    ((found,),) = fleet.sql(statement, job=job, state=state)
    return int(found)


def more_runs(fleet: Fleet, job: str, most_seconds: float = 30, more: int = 2) -> None:
    """Wait until the job has run so many times more."""
    before = runs_of(fleet, job)
    wait_until(
        lambda: runs_of(fleet, job) >= before + more, most_seconds, lambda: f"{job} does not run\n{fleet.logs()}"
    )
