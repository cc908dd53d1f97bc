"""`heyfleet jobs …`"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from sqlalchemy import Row

from app.bootstrap import Core
from app.cli.context import AsJson, Limit, connected, plain, show
from app.config.units import show_duration
from app.errors import Refused
from app.jobs import hands
from app.jobs import history as rows
from app.jobs.firing import target_name
from app.questions import visible
from app.states import JobState

app = typer.Typer(help="What agents do on a schedule.", no_args_is_help=True)

COLUMNS = ("id", "agent", "state", "paused_by", "schedule", "where", "next_at", "last")
RUN_COLUMNS = ("id", "job_id", "due_at", "target", "state", "delivery_state", "started_at", "ended_at", "error")

Id = Annotated[str, typer.Argument(help="As heyfleet jobs list shows it.")]
Agent = Annotated[str | None, typer.Option("--agent", help="Whose job it is, where there are several agents.")]


@app.command("list")
def list_verb(context: typer.Context, agent: Agent = None, limit: Limit = 200, as_json: AsJson = False) -> None:
    """All jobs, when each is due next, and what became of its last due time."""
    with connected(context) as core:
        found = [line(row) for row in rows.listed(core.db, agent, limit)]
    nothing = "There are no jobs: put some under jobs in heyfleet.yaml, or into agent/jobs/, and start a beat."
    show(found, COLUMNS, as_json=as_json, nothing=nothing)
    if len(found) == limit:
        sys.stderr.write(f"(the first {limit}; --limit shows more)\n")


@app.command("show")
def show_verb(context: typer.Context, job: Id, agent: Agent = None, as_json: AsJson = False) -> None:
    """One job, as it is stored."""
    with connected(context) as core:
        row = rows.find(core.db, job, agent)
    facts = {
        **line(row),
        "kind": row.kind,
        "prompt": row.prompt,
        "idle": None if row.idle is None else show_duration(row.idle),
        "model": row.model,
        "max_catch_up": row.max_catch_up,
        "gone_at": row.gone_at,
        "created_at": row.created_at,
    }
    if as_json:
        sys.stdout.write(json.dumps({**facts, "schedule": row.schedule}, default=plain, indent=2) + "\n")
        return
    for name, value in facts.items():
        if value not in (None, ""):
            sys.stdout.write(f"{name.replace('_', ' '):<13} {visible(str(plain(value)))}\n")


@app.command()
def run(context: typer.Context, job: Id, agent: Agent = None, as_json: AsJson = False) -> None:
    """Queue one run for each target at once; the schedule is left alone."""
    with connected(context) as core:
        row = to_change(core, job, agent)
        asked = hands.run_now(core.db, row.id, getpass.getuser())
        # Workers start them: it works without a beat too.
        core.wakes.runs()
    passed = f"; {asked.passed_over} passed over, for a run that has not ended or activity" if asked.passed_over else ""
    if not asked.queued:
        none = "no thread matches its scope (heyfleet threads shows those seen so far)"
        raise Refused(f"nothing was queued: {passed.removeprefix('; ') or none}; heyfleet jobs history {row.name}")
    said = f"{asked.queued} {'run' if asked.queued == 1 else 'runs'} of {row.name} queued{passed}"
    report(row, said, as_json=as_json, queued=asked.queued, passed_over=asked.passed_over)


@app.command()
def pause(context: typer.Context, job: Id, agent: Agent = None, as_json: AsJson = False) -> None:
    """Stop it from firing, until it is resumed; runs that have not begun are skipped."""
    with connected(context) as core:
        row = to_change(core, job, agent)
        dropped = hands.pause(core.db, row.id, getpass.getuser())
    if dropped is None:
        raise Refused(f"job {row.name} is paused already (by {row.paused_by}); heyfleet jobs resume {row.name}")
    skipped = f"; {dropped} queued runs are skipped" if dropped else ""
    report(row, f"job {row.name} is paused{skipped}", as_json=as_json, state=JobState.PAUSED.value, skipped=dropped)
    warn_of_config(core, row, JobState.PAUSED)


@app.command()
def resume(context: typer.Context, job: Id, agent: Agent = None, as_json: AsJson = False) -> None:
    """Let it fire again; what was due meanwhile is skipped."""
    with connected(context) as core:
        row = to_change(core, job, agent)
        resumed, next_at = hands.resume(core.db, row.id, getpass.getuser())
    if not resumed:
        raise Refused(f"job {row.name} is not paused; heyfleet jobs run {row.name} starts it at once")
    due = f"due next at {plain(next_at)}" if next_at else "its time has passed: heyfleet jobs run starts it by hand"
    report(row, f"job {row.name} is active; {due}", as_json=as_json, state=JobState.ACTIVE.value, next_at=next_at)
    warn_of_config(core, row, JobState.ACTIVE)


@app.command()
def history(context: typer.Context, job: Id, agent: Agent = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Its latest runs and how each ended, and the due times that came to none."""
    with connected(context) as core:
        row = rows.find(core.db, job, agent)
        found = [{**each._asdict(), "job_id": row.name} for each in rows.history(core.db, row.id, limit)]
    show(found, RUN_COLUMNS, as_json=as_json, nothing=f"Job {row.name} has not been due yet.")


def report(row: Row[Any], said: str, *, as_json: bool, **facts: Any) -> None:
    """What came of an order."""
    told = json.dumps({"id": row.name, "agent": row.agent, **facts}, default=plain, indent=2) if as_json else said
    sys.stdout.write(told + "\n")


def to_change(core: Core, job: str, agent: str | None) -> Row[Any]:
    """The job that an order is about. Raises Refused where it does not say whose."""
    agents = core.settings.agents
    if agent is None and len(agents) > 1:
        raise Refused(f"there are several agents: say whose job with --agent ({', '.join(agents)})")
    return rows.find(core.db, job, agent)


def warn_of_config(core: Core, row: Row[Any], state: JobState) -> None:
    """Say that what was set by hand will not last."""
    only = next(iter(core.settings.agents))
    for job in core.settings.jobs.define:
        if (job.agent or only, job.id) == (row.agent, row.name) and job.state not in (None, state.value):
            said = f"(only until a beat begins to lead: its configuration sets state: {job.state})"
            sys.stderr.write(said + "\n")


def line(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.name,
        "agent": row.agent,
        "state": row.state,
        "paused_by": f"{row.paused_by} (gone from the configuration)" if row.gone_at else row.paused_by,
        "schedule": shown_schedule(row.schedule),
        "where": ", ".join(shown_targets(row)),
        "next_at": row.next_at,
        "last": None if row.last_due_at is None else f"{plain(row.last_due_at)} {row.last_outcome}",
    }


def shown_schedule(schedule: Mapping[str, Any]) -> str:
    if "at" in schedule:
        return f"at {schedule['at']}"
    if "every" in schedule:
        return f"every {show_duration(schedule['every'])}"
    return f"{schedule['cron']} ({schedule['timezone']})"


def shown_targets(row: Row[Any]) -> list[str]:
    if row.targets is not None:
        return [target_name(target) for target in row.targets]
    return [f"threads of {adapter}" for adapter in row.scope]
