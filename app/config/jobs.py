"""A job as it is written down: in `jobs` of heyfleet.yaml, or in a file of its own in an agent's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field

from app.config.section import Section
from app.config.units import Duration
from app.timetable import instant

LONGEST_EVERY = 3660 * 86400.0
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Names = Annotated[list[Name], Field(min_length=1)]


class Schedule(Section):
    at: str | None = None
    """Once: `2026-12-01T09:00:00+01:00`, or a time on the wall of `timezone`."""
    every: Annotated[Duration | None, Field(ge=1, le=LONGEST_EVERY)] = None
    """Again and again, this long after each other, whatever the clocks show."""
    cron: str | None = None
    """Five fields, or @hourly, @daily, @weekly, @monthly, @yearly."""
    timezone: str | None = None
    """Whose clock `cron` and `at` mean, such as Europe/Berlin; UTC where unset."""


class Places(Section):
    channels: list[Name] = []
    users: list[Name] = []


class Filter(Section):
    """Threads that match all of what is set."""

    teams: Names | None = None
    channels: Names | None = None
    users: Names | None = None
    """Threads in which one of them has written."""


class Job(Section):
    id: str = Field(pattern=NAME)
    agent: str | None = None
    """Whose job it is; the only agent where there is one."""
    kind: Literal["cron", "heartbeat"]
    schedule: Schedule | None = None
    every: Annotated[Duration | None, Field(ge=1, le=LONGEST_EVERY)] = None
    """Short for `schedule: {every: …}`."""
    targets: dict[str, Places] | None = None
    """By adapter: where it runs."""
    scope: dict[str, Filter] | None = None
    """By adapter: a heartbeat runs in each thread seen so far that matches."""
    idle: Duration | None = None
    """A heartbeat with `scope` passes over threads in which somebody wrote within this time."""
    prompt: str = Field(min_length=1, max_length=20_000, pattern=r"\S")
    """The message that the agent gets."""
    state: Literal["active", "paused"] | None = None
    """Unset: active at first, and then as it was set by hand."""
    model: str | None = None
    """Asked instead of the agent's own."""
    max_catch_up: Literal[0, 1, "all"] = 1
    """Of due times that were missed: none of them is run, one, or all."""


class Jobs(Section):
    max_concurrent: int = Field(default=8, ge=1)
    """Runs of heartbeats over threads that are worked on at once in the whole fleet."""
    max_concurrent_targets: int = Field(default=180, ge=1)
    """Runs of all other jobs at once; fewer than the workers have threads, so that people needn't wait for one."""
    define: list[Job] = []
    """The jobs; where nothing else is set, `jobs` may be this list itself."""


def as_section(value: Any) -> Any:
    """`jobs: [...]` as `jobs: {define: [...]}`."""
    return {"define": value} if isinstance(value, list) else value


JobsSetting = Annotated[Jobs, BeforeValidator(as_section, json_schema_input_type=Jobs | list[Job])]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job with all that is implied said: what is stored of it."""

    agent: str
    name: str
    """Its `id`."""
    kind: str
    schedule: Mapping[str, Any]
    """See `app.timetable.timetable`."""
    targets: tuple[Mapping[str, str], ...] | None
    """Each `{adapter, kind, name}`, with `kind` channel or user."""
    scope: Mapping[str, Mapping[str, Any]] | None
    idle: float | None
    prompt: str
    model: str | None
    max_catch_up: str
    state: str | None


def spec_of(job: Job, only_agent: str) -> JobSpec:
    """The job of settings that are right."""
    return JobSpec(
        agent=job.agent or only_agent,
        name=job.id,
        kind=job.kind,
        schedule=schedule_of(job.schedule or Schedule(every=job.every)),
        targets=None if job.targets is None else targets_of(job.targets),
        scope=None if job.scope is None else {name: found.model_dump() for name, found in job.scope.items()},
        idle=job.idle,
        prompt=job.prompt,
        model=job.model,
        max_catch_up=str(job.max_catch_up),
        state=job.state,
    )


def schedule_of(schedule: Schedule) -> dict[str, Any]:
    zone = schedule.timezone or "UTC"
    if schedule.at is not None:
        return {"at": moment(schedule.at, zone).isoformat()}
    if schedule.every is not None:
        return {"every": schedule.every}
    return {"cron": " ".join((schedule.cron or "").split()), "timezone": zone}


def moment(text: str, zone: str) -> datetime:
    """An ISO time as an instant. Raises ValueError."""
    found = datetime.fromisoformat(text.strip())
    return instant(found, ZoneInfo(zone)) if found.tzinfo is None else found.astimezone(UTC)


def targets_of(targets: Mapping[str, Places]) -> tuple[Mapping[str, str], ...]:
    return tuple(
        {"adapter": adapter, "kind": kind, "name": name}
        for adapter, places in targets.items()
        for kind, names in (("channel", places.channels), ("user", places.users))
        for name in dict.fromkeys(names)
    )
