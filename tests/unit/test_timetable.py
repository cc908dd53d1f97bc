"""When schedules are due: days on which clocks change, leap days, and any schedule against a slow reference."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.timetable import MOST_COUNTED, Cron, Every, Once, Timetable, count, instant, timetable

MINUTE = timedelta(minutes=1)


def cron(expression: str, zone: str = "UTC") -> Cron:
    return Cron(expression, ZoneInfo(zone))


def walls(table: Timetable, start: str, zone: str, most: int) -> list[str]:
    """The first due times from `start` (on the zone's wall) on, as its wall shows them."""
    due: datetime | None = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = []
    for _ in range(most):
        due = table.after(due) if due else None
        found.append(due.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M %z") if due else "never")
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "start", "wanted"),
    [
        # The hour that is skipped: once, after it.
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00", ["03-08 03:00 -0400", "03-09 02:30 -0400"]),
        ("0,20,40 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:00 +0200"]),
        ("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:00 +0200"]),
        # Half an hour, and at midnight: there is no 00:00 on that day.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["10-04 02:30 +1100", "10-05 02:15 +1100"]),
        ("0 0 * * *", "Asia/Beirut", "2026-03-28T12:00", ["03-29 01:00 +0300", "03-30 00:00 +0300"]),
        # A whole day, which Samoa left out.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00", ["12-31 00:00 +1400", "12-31 12:00 +1400"]),
        # The hour that is shown twice: once, the first time.
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["11-01 01:30 -0400", "11-02 01:30 -0500"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", ["04-05 01:45 +1100", "04-06 01:45 +1030"]),
        ("0 * * * *", "Europe/Berlin", "2026-10-25T01:30", ["10-25 02:00 +0200", "10-25 03:00 +0100"]),
        # Zones that are no whole hours away, and one whose clock never changes.
        ("0 9 * * 1", "Asia/Kathmandu", "2026-11-21T00:00", ["11-23 09:00 +0545", "11-30 09:00 +0545"]),
        ("30 2 29 3 *", "Asia/Tokyo", "2026-03-28T12:00", ["03-29 02:30 +0900", "03-29 02:30 +0900"]),
        # Calendars.
        ("0 0 31 * *", "UTC", "2026-01-31T00:00", ["03-31 00:00 +0000", "05-31 00:00 +0000", "07-31 00:00 +0000"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["02-29 00:00 +0000"]),
        ("0 9 * * 1-5", "UTC", "2026-11-20T10:00", ["11-23 09:00 +0000", "11-24 09:00 +0000"]),
        ("0 0 30 2 *", "UTC", "2026-01-01T00:00", ["never"]),
    ],
)  # fmt: skip
def test_days_that_are_not_like_others(expression: str, zone: str, start: str, wanted: list[str]) -> None:
    assert walls(cron(expression, zone), start, zone, len(wanted)) == wanted


def test_leap_days_are_those_of_the_calendar() -> None:
    due, table = datetime(2026, 1, 1, tzinfo=UTC), cron("0 0 29 2 *")
    years = []
    for _ in range(20):
        following = table.after(due)
        assert following
        due = following
        years.append(due.year)
    assert years[:3] == [2028, 2032, 2036]
    assert 2100 not in years
    assert 2104 in years


def test_a_fixed_interval_knows_no_wall() -> None:
    """A day on which a clock changes has 23 or 25 hours, and the interval has 24."""
    anchor = datetime(2026, 3, 28, 9, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    table = timetable({"every": 86400.0}, anchor)
    assert walls(table, "2026-03-28T09:00", "Europe/Berlin", 2) == ["03-29 10:00 +0200", "03-30 10:00 +0200"]


def test_an_interval_keeps_its_rhythm_however_late_it_is_asked() -> None:
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    table = Every(timedelta(minutes=7), anchor)
    assert table.after(anchor - timedelta(days=1)) == anchor + timedelta(minutes=7), "the anchor is not due"
    assert table.latest(anchor + timedelta(minutes=6)) is None
    assert table.after(anchor + timedelta(minutes=7)) == anchor + timedelta(minutes=14)
    assert table.latest(anchor + timedelta(minutes=13, seconds=59)) == anchor + timedelta(minutes=7)
    assert table.latest(anchor + timedelta(minutes=14)) == anchor + timedelta(minutes=14)


def test_once_is_due_once() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    table = timetable({"at": at.isoformat()}, at)
    assert isinstance(table, Once)
    assert table.after(at - MINUTE) == at
    assert table.after(at) is None
    assert table.latest(at - MINUTE) is None
    assert table.latest(at + MINUTE) == at


def test_due_times_of_a_range_are_counted_up_to_a_limit() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    assert count(cron("* * * * *"), first, first) == 1
    assert count(cron("* * * * *"), first, first + 59 * MINUTE) == 60
    assert count(cron("* * * * *"), first, first + MOST_COUNTED * MINUTE) is None
    anchor = first - MINUTE
    assert count(Every(MINUTE, anchor), first, first + 10**6 * MINUTE) == 10**6 + 1


# --- against a slow reference


@lru_cache(maxsize=64)
def due_in(minute: int, hours: frozenset[int], days: frozenset[int], zone: str, year: int) -> tuple[datetime, ...]:
    """All due times of a year, found by looking at the clock each minute, as a person would.

    The person writes down each time that the clock shows, and does the thing when it is one of those that were asked
    for and was not shown before; when the clock jumps ahead, once for all that it jumped over.
    """
    local, found, latest_shown = ZoneInfo(zone), list[datetime](), None
    at, end = datetime(year - 1, 12, 30, tzinfo=UTC), datetime(year + 1, 1, 3, tzinfo=UTC)

    def asked(wall: datetime) -> bool:
        return wall.minute == minute and wall.hour in hours and wall.day in days

    while at < end:
        shown = at.astimezone(local).replace(tzinfo=None, fold=0)
        if latest_shown is None or shown > latest_shown:
            jumped = minutes(latest_shown + MINUTE, shown) if latest_shown else ()
            if asked(shown) or any(asked(wall) for wall in jumped):
                found.append(at)
            latest_shown = shown
        at += MINUTE
    return tuple(found)


def minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += MINUTE


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns", "UTC"]
ZONES += ["Africa/Casablanca", "America/Santiago", "Pacific/Chatham", "Antarctica/Troll"]
HOURS = st.frozensets(st.integers(0, 23), min_size=1, max_size=4) | st.just(frozenset(range(24)))
DAYS = st.just(frozenset(range(1, 32))) | st.frozensets(st.integers(1, 31), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(
    minute=st.sampled_from([0, 15, 30, 59]),
    hours=HOURS | st.just(frozenset({1, 2, 3})),
    days=DAYS,
    zone=st.sampled_from(ZONES),
    year=st.sampled_from([2024, 2026]),
    moments=st.lists(st.integers(0, 366 * 24 * 3600), min_size=20, max_size=20),
)
def test_any_expression_is_due_when_a_person_at_the_clock_would_say(
    minute: int, hours: frozenset[int], days: frozenset[int], zone: str, year: int, moments: list[int]
) -> None:
    reference = due_in(minute, hours, days, zone, year)
    table = cron(f"{minute} {','.join(map(str, sorted(hours)))} {','.join(map(str, sorted(days)))} * *", zone)
    start = datetime(year, 1, 1, tzinfo=UTC)
    end = start + timedelta(days=366)
    inside = [due for due in reference if start < due <= end]
    found, due = list[datetime](), table.after(start)
    while due is not None and due <= end:
        found.append(due)
        due = table.after(due)
    assert found == inside
    for seconds in moments:
        moment = start + timedelta(seconds=seconds)
        past = [each for each in reference if each <= moment]
        assert table.latest(moment) == past[-1] if past else True
        ahead = [each for each in reference if each > moment]
        assert table.after(moment) == ahead[0] if ahead else True


@given(st.datetimes(datetime(1975, 1, 1), datetime(2035, 1, 1)), st.sampled_from([*ZONES, "Pacific/Apia"]))
def test_instants_never_go_back_as_the_wall_goes_on(wall: datetime, zone: str) -> None:
    wall = wall.replace(second=0, microsecond=0)
    assert instant(wall, ZoneInfo(zone)) <= instant(wall + MINUTE, ZoneInfo(zone))
