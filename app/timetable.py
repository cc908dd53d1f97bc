"""When a schedule is due. Pure: the time is an argument, and every due time is an instant in UTC.

A cron expression names times on a wall clock, so that each of them is due once: one that the clock skips is due at the
moment after the gap, and one that the clock shows twice is due the first time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

SECOND = timedelta(seconds=1)

MOST_COUNTED = 60
"""Due times of a range are counted up to this many: what was missed in years by thousands of jobs is not worth more."""

# A croniter keeps where it stands while it looks for the next time.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Once:
    """Due at one instant."""

    at: datetime

    def after(self, time: datetime) -> datetime | None:
        """The first due time later than `time`."""
        return self.at if self.at > time else None

    def latest(self, time: datetime) -> datetime | None:
        """The last due time not later than `time`."""
        return self.at if self.at <= time else None


@dataclass(frozen=True, slots=True)
class Every:
    """Due each `period` after the anchor, which is no due time itself. Wall clocks don't matter."""

    period: timedelta
    anchor: datetime

    def after(self, time: datetime) -> datetime | None:
        return self.anchor + max(1, (time - self.anchor) // self.period + 1) * self.period

    def latest(self, time: datetime) -> datetime | None:
        number = (time - self.anchor) // self.period
        return self.anchor + number * self.period if number >= 1 else None


@dataclass(frozen=True, slots=True)
class Cron:
    """Due when a clock on the wall of `zone` shows a time that the expression names."""

    expression: str
    zone: ZoneInfo

    def after(self, time: datetime) -> datetime | None:
        # Wall times up to this one are due by now: instants never go back as the wall's times go on.
        wall = time.astimezone(self.zone).replace(tzinfo=None, fold=0)
        while True:
            try:
                wall = step(self.expression, wall, forward=True)
            except (CroniterBadDateError, OverflowError):
                return None
            due = instant(wall, self.zone)
            if due > time:
                return due

    def latest(self, time: datetime) -> datetime | None:
        local = time.astimezone(self.zone)
        # The second time that the clock shows an hour, all of that hour has been due before.
        repeated = (local.replace(fold=0).utcoffset() or timedelta()) - (local.utcoffset() or timedelta())
        wall = local.replace(tzinfo=None, fold=0) + repeated + timedelta(microseconds=1)
        while True:
            try:
                wall = step(self.expression, wall, forward=False)
            except (CroniterBadDateError, OverflowError):
                return None
            due = instant(wall, self.zone)
            if due <= time:
                return due


Timetable = Once | Every | Cron


def timetable(schedule: Mapping[str, Any], anchor: datetime) -> Timetable:
    """The timetable of a stored schedule: `{at}` (ISO), `{every}` (seconds) or `{cron, timezone}`."""
    if "at" in schedule:
        return Once(datetime.fromisoformat(schedule["at"]))
    if "every" in schedule:
        return Every(timedelta(seconds=schedule["every"]), anchor)
    return Cron(schedule["cron"], ZoneInfo(schedule["timezone"]))


def count(table: Timetable, first: datetime, last: datetime) -> int | None:
    """How many due times there are from `first` to `last`, both of which are; None for more than are counted."""
    if isinstance(table, Every):
        return (last - first) // table.period + 1
    found, due = 1, first
    while due < last:
        following = table.after(due)
        if following is None or found == MOST_COUNTED:
            return None
        found, due = found + 1, following
    return found


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clock of `zone` first shows `wall`, or the end of the gap in which it would have."""
    found = wall.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
        return found
    # https://docs.python.org/3/library/datetime.html#datetime.datetime.fold: in a gap, fold 0 counts with the offset
    # from before it and fold 1 with the one from after it; the jump lies between the two.
    late, early = found, wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = late.astimezone(zone).utcoffset()
    while late - early > SECOND:
        middle = early + (late - early) // 2
        if middle.astimezone(zone).utcoffset() == after:
            late = middle
        else:
            early = middle
    return late.replace(microsecond=0)


def step(expression: str, wall: datetime, *, forward: bool) -> datetime:
    """The next or previous time on the wall that the expression names. Raises CroniterBadDateError where none is."""
    with _one_at_a_time:
        made = parsed(expression)
        found: datetime = (made.get_next if forward else made.get_prev)(datetime, start_time=wall)
        return found


@lru_cache(maxsize=4096)
def parsed(expression: str) -> croniter:
    """Made once: parsing takes four times as long as looking for a time."""
    return croniter(expression)
