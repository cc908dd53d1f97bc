"""The rules that a job may break. Looks at the raw data, so that all that is wrong is told together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from croniter import CroniterError

from app.config.jobs import as_section, moment
from app.config.problems import Key, Origins, Problem, did_you_mean
from app.timetable import Cron, parsed

FIELDS = 5
ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
CHARACTERS = re.compile(r"[0-9A-Za-z*?,/#-]+")
BY_CHANCE = re.compile(r"(?i)(?:^|[,/#-])[rh](?:$|[,/#-])")
"""R and H, for which croniter would choose a time by chance."""

Found = Iterator[tuple[Key, str]]


@dataclass(frozen=True, slots=True)
class World:
    """What a job may name."""

    agents: tuple[str, ...]
    adapters: Mapping[str, Mapping[str, Any]]


def job_rules(data: Mapping[str, Any], origins: Origins) -> Found:
    """Everything that is wrong with how jobs fit together; what has the wrong type is told elsewhere."""
    world = world_of(data)
    first: dict[tuple[str, str], Key] = {}
    for number, job in enumerate(defined(data)):
        key: Key = ("jobs", "define", number)
        if not isinstance(job, Mapping):
            continue
        for below, text in broken(job, world):
            yield (*key, *below), text
        if isinstance(job.get("id"), str):
            name = (str(job.get("agent") or "".join(world.agents[:1])), job["id"])
            if name in first:
                yield (*key, "id"), f"is the id of another job of this agent, at {origins[first[name]].place}; keep one"
            first.setdefault(name, (*key, "id"))


def defined(data: Mapping[str, Any]) -> list[Any]:
    section = as_section(data.get("jobs"))
    found = section.get("define") if isinstance(section, Mapping) else None
    return found if isinstance(found, list) else []


def world_of(data: Mapping[str, Any]) -> World:
    agents, adapters = data.get("agents"), data.get("adapters")
    listed = adapters if isinstance(adapters, list) else [{"kind": "local", "name": "local"}]
    return World(
        agents=tuple(map(str, agents)) if isinstance(agents, Mapping) and agents else ("default",),
        adapters={str(each.get("name")): each for each in listed if isinstance(each, Mapping)},
    )


def broken(job: Mapping[str, Any], world: World) -> Found:
    if isinstance(job.get("max_catch_up"), bool):
        yield ("max_catch_up",), "must be one of 0, 1, all; YAML reads yes, no, on and off as true or false"
    yield from whose(job, world)
    yield from where(job, world)
    yield from when(job)


def whose(job: Mapping[str, Any], world: World) -> Found:
    agent = job.get("agent")
    if agent is None and len(world.agents) > 1:
        yield (), f"must say whose job it is; add agent: with one of {', '.join(world.agents)}"
    if isinstance(agent, str) and agent not in world.agents:
        yield ("agent",), f"there is no agent of this name; {did_you_mean(agent, world.agents)}"


def where(job: Mapping[str, Any], world: World) -> Found:
    kind, targets, scope = job.get("kind"), job.get("targets"), job.get("scope")
    if kind == "cron" and scope is not None:
        yield ("scope",), "is for heartbeats; name the places of a cron job in targets"
    elif kind == "cron" and targets is None:
        yield (), "a cron job needs targets, such as targets: {local: {channels: [ops]}}"
    elif kind == "heartbeat" and targets is not None and scope is not None:
        yield ("scope",), "can't stand beside targets; keep one of the two"
    elif kind == "heartbeat" and targets is None and scope is None:
        yield (), "a heartbeat needs targets or scope, such as scope: {local: {}}"
    if job.get("idle") is not None and (kind == "cron" or scope is None):
        yield ("idle",), "is for heartbeats with scope; leave it out"
    yield from named("targets", targets, job, world)
    yield from named("scope", scope, job, world)


def named(field: str, found: Any, job: Mapping[str, Any], world: World) -> Found:
    """The adapters of targets or scope."""
    if not isinstance(found, Mapping):
        return
    if not found:
        yield (field,), "names no adapter; put one in, such as {local: {channels: [ops]}}"
    for name, places in found.items():
        key: Key = (field, name)
        adapter = world.adapters.get(name)
        if adapter is None:
            yield key, f"there is no adapter of this name; {did_you_mean(name, world.adapters)}"
            continue
        if adapter.get("kind") == "webhook":
            yield key, "a webhook adapter can't be spoken to first: it only answers; name an adapter of another kind"
        agent = job.get("agent") or (world.agents[0] if len(world.agents) == 1 else None)
        if agent in world.agents and adapter.get("agent", "default") != agent:
            yield key, f"belongs to the agent {adapter.get('agent', 'default')}, and this is a job of {agent}"
        if field == "targets" and isinstance(places, Mapping) and not (places.get("channels") or places.get("users")):
            yield key, "names nobody; add channels or users"


def when(job: Mapping[str, Any]) -> Found:
    schedule, every = job.get("schedule"), job.get("every")
    if schedule is not None and every is not None:
        yield ("every",), "can't stand beside schedule; keep one of the two"
    if schedule is None and every is None:
        yield (), 'needs a schedule, such as every: 24h or schedule: {cron: "0 9 * * 1"}'
    if not isinstance(schedule, Mapping):
        return
    ways = [way for way in ("at", "every", "cron") if schedule.get(way) is not None]
    if len(ways) != 1:
        said = f"has {' and '.join(ways)}; keep one of them" if ways else "needs one of at, every and cron"
        yield ("schedule",), said
    zone = schedule.get("timezone")
    if isinstance(zone, str) and zone not in zones():
        yield ("schedule", "timezone"), f"there is no such time zone; {near(zone)}"
    elif zone is not None and ways == ["every"]:
        yield ("schedule", "timezone"), "means nothing to every; leave it out"
    if isinstance(schedule.get("cron"), str):
        yield from unless_fine(("schedule", "cron"), wrong_cron(schedule["cron"]))
    if isinstance(schedule.get("at"), str) and zone is not None and has_offset(schedule["at"]):
        yield ("schedule", "timezone"), "means nothing to a time with an offset of its own; leave one of the two out"
    if isinstance(schedule.get("at"), str):
        known = zone if isinstance(zone, str) and zone in zones() else "UTC"
        yield from unless_fine(("schedule", "at"), wrong_time(schedule["at"], known))


def unless_fine(key: Key, text: str | None) -> Found:
    if text is not None:
        yield key, text


def wrong_cron(text: str) -> str | None:
    """What is wrong with a cron expression, or None."""
    fields = text.split()
    if text.strip().startswith("@"):
        return None if text.strip() in ALIASES else f"there is no such shorthand; {did_you_mean(text.strip(), ALIASES)}"
    if len(fields) != FIELDS:
        return f"has {len(fields)} fields and needs {FIELDS}: minute, hour, day, month, weekday"
    for field in fields:
        if not CHARACTERS.fullmatch(field) or BY_CHANCE.search(field):
            return f"has a field that is no cron field: {field}"
    expression = " ".join(fields)
    try:
        parsed(expression)
        # croniter tells of more when it looks for a time.
        due = Cron(expression, ZoneInfo("UTC")).after(datetime(2026, 1, 1, tzinfo=UTC))
    except (CroniterError, ValueError, KeyError, AttributeError) as error:
        return f"is no cron expression ({error}); write it as in 0 9 * * 1"
    return None if due is not None else "names a day that never comes; correct day and month"


def has_offset(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.strip()).tzinfo is not None
    except ValueError:
        return False


def wrong_time(text: str, zone: str) -> str | None:
    try:
        moment(text, zone)
    except (ValueError, OverflowError):
        return "is no time; write it as 2026-12-01T09:00 (with a timezone beside it), or 2026-12-01T09:00:00+01:00"
    return None


@cache
def zones() -> frozenset[str]:
    # Not those that mean another zone on another machine.
    return frozenset(available_timezones()) - {"localtime", "posixrules", "Factory"}


def near(zone: str) -> str:
    cure = did_you_mean(zone, {name.lower(): name for name in zones()}.values())
    return cure if cure.startswith("did") else "write it as Europe/Berlin or UTC"


def of_jobs(problems: list[Problem], data: Mapping[str, Any], in_files: int) -> list[Problem]:
    """The problems with those of jobs told as their readers see them: by the job's name, and by the key in its file.

    The last `in_files` jobs have a file each.
    """
    jobs = defined(data)
    return [told(problem, jobs, len(jobs) - in_files) for problem in problems]


def told(problem: Problem, jobs: list[Any], in_config: int) -> Problem:
    match problem.key:
        case ("jobs", "define", int(number), *rest) if number < len(jobs):
            job = jobs[number]
            name = job.get("id") if isinstance(job, Mapping) else None
            said = f"job {name}: " if isinstance(name, str) else ""
            key = tuple(rest) if number >= in_config else ("jobs", number, *rest)
            return Problem(problem.origin, key, said + problem.text)
    return problem
