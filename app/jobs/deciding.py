"""What becomes of the due times of a job. Pure: each of them gets exactly one outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.states import OccurrenceOutcome
from app.timetable import SECOND, Timetable, count, timetable

GRACE = timedelta(minutes=1)
"""What is later than this was missed: longer than a change of the leader takes."""

LATE = timedelta(seconds=10)
"""What is later than this is recorded as late: a look each second and a busy machine are not."""

MOST_AT_ONCE = 100
"""Missed due times of a job that are made up for at once; the others follow at the next looks."""

MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """A job whose time has come."""

    schedule: Mapping[str, Any]
    anchor: datetime
    next_at: datetime
    max_catch_up: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of a due time, or of the skipped ones from `due_at` to `last_at`."""

    due_at: datetime
    last_at: datetime
    due_times: int | None
    """How many they are; None: more than are counted."""
    outcome: OccurrenceOutcome
    reason: str | None = None

    @property
    def fires(self) -> bool:
        return self.outcome is not OccurrenceOutcome.SKIPPED


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of all that is due, and the job's next due time."""

    next_at: datetime | None
    occurrences: Sequence[Decided]


def decide(job: Due, now: datetime, most: int = MOST_AT_ONCE) -> Decision:
    """What becomes of every due time from the job's cursor until now, of which there is at least one.

    `most`: how many may fire at once; where there are more, the cursor stops before the others.
    """
    table = timetable(job.schedule, job.anchor)
    if job.max_catch_up == "all":
        return each(table, job.next_at, now, most)
    last = max(table.latest(now) or job.next_at, job.next_at)
    late = now - last
    if job.max_catch_up == "0" and late > GRACE:
        return Decision(table.after(last), [skipped(table, job.next_at, last, f"missed by {shown(late)}")])
    found = [fired(last, now)]
    before = table.latest(last - MOMENT)
    if before is not None and before >= job.next_at:
        missed = shown(now - job.next_at)
        found.insert(0, skipped(table, job.next_at, before, f"missed by {missed}; the one after them was run instead"))
    return Decision(table.after(last), found)


def each(table: Timetable, first: datetime, now: datetime, most: int) -> Decision:
    """Every due time fires, the oldest first."""
    found, due = list[Decided](), first
    while len(found) < most:
        found.append(fired(due, now))
        following = table.after(due)
        if following is None or following > now:
            return Decision(following, found)
        due = following
    return Decision(due, found)


def fired(due: datetime, now: datetime) -> Decided:
    late = now - due
    if late <= LATE:
        return Decided(due, due, 1, OccurrenceOutcome.RAN)
    return Decided(due, due, 1, OccurrenceOutcome.LATE, f"{shown(late)} late")


def skipped(table: Timetable, first: datetime, last: datetime, reason: str) -> Decided:
    return Decided(first, last, count(table, first, last), OccurrenceOutcome.SKIPPED, reason)


def passed(job: Due, now: datetime, reason: str) -> Decided | None:
    """What becomes of the due times that have come by now and are not to fire; None where there are none."""
    if job.next_at > now:
        return None
    table = timetable(job.schedule, job.anchor)
    return skipped(table, job.next_at, max(table.latest(now) or job.next_at, job.next_at), reason)


def shown(time: timedelta) -> str:
    """A time as people say it: `3s`, `2m 5s`, `1h 0m`, `3d 4h`."""
    seconds = round(time / SECOND)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds % 60}s" if minutes else f"{seconds}s"
