"""Each due time gets one outcome, whatever the clock did and however long nobody looked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.deciding import GRACE, LATE, MOST_AT_ONCE, Decided, Due, decide, passed, shown
from app.states import OccurrenceOutcome
from app.timetable import timetable

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
MINUTELY = {"every": 60.0}


def due(schedule: Any = MINUTELY, mode: str = "1", first: datetime | None = None) -> Due:
    found = first or timetable(schedule, START).after(START)
    assert found
    return Due(schedule, START, found, mode)


def told(decided: Decided) -> tuple[str, int, int, int | None]:
    """An outcome, with its due times as minutes after the start."""
    first, last = ((time - START) // timedelta(minutes=1) for time in (decided.due_at, decided.last_at))
    return decided.outcome.value, first, last, decided.due_times


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("mode", "now", "wanted", "following"),
    [
        ("1", 1.01, [("ran", 1, 1, 1)], 2),
        ("0", 1.01, [("ran", 1, 1, 1)], 2),
        ("all", 1.01, [("ran", 1, 1, 1)], 2),
        # As late as a change of the leader makes it.
        ("1", 1.4, [("late", 1, 1, 1)], 2),
        ("0", 1.4, [("late", 1, 1, 1)], 2),
        ("all", 1.4, [("late", 1, 1, 1)], 2),
        # Down for an hour.
        ("1", 61.5, [("skipped", 1, 60, 60), ("late", 61, 61, 1)], 62),
        ("0", 61.5, [("skipped", 1, 60, 60), ("late", 61, 61, 1)], 62),
        ("all", 3.5, [("late", 1, 1, 1), ("late", 2, 2, 1), ("late", 3, 3, 1)], 4),
    ],
)
def test_what_becomes_of_what_was_missed(mode: str, now: float, wanted: list[Any], following: int) -> None:
    decision = decide(due(mode=mode), at(now))
    assert [told(each) for each in decision.occurrences] == wanted
    assert decision.next_at == at(following)


@pytest.mark.parametrize(("mode", "wanted"), [("1", "late"), ("0", "skipped"), ("all", "late")])
def test_an_hourly_job_of_a_fleet_that_was_down_over_its_time(mode: str, wanted: str) -> None:
    hourly = {"cron": "0 * * * *", "timezone": "UTC"}
    decision = decide(due(hourly, mode), at(90))
    assert [told(each) for each in decision.occurrences] == [(wanted, 60, 60, 1)]
    assert decision.next_at == at(120)
    assert decide(due(hourly, "0"), at(61)).occurrences[0].fires, "within the grace it is only late"


def test_all_that_was_missed_is_made_up_for_in_portions() -> None:
    job, seen = due(mode="all"), list[int]()
    while job.next_at <= at(250.5):
        decision = decide(job, at(250.5))
        assert len(decision.occurrences) <= MOST_AT_ONCE
        seen += [told(each)[1] for each in decision.occurrences]
        assert decision.next_at
        job = due(mode="all", first=decision.next_at)
    assert seen == list(range(1, 251))


def test_once_is_decided_once() -> None:
    job = due({"at": at(5).isoformat()})
    decision = decide(job, at(5))
    assert [told(each) for each in decision.occurrences] == [("ran", 5, 5, 1)]
    assert decision.next_at is None


def test_years_of_a_minutely_job_are_decided_at_once_and_counted_no_further() -> None:
    decision = decide(due({"cron": "* * * * *", "timezone": "UTC"}), START + timedelta(days=3650))
    skipped, late = decision.occurrences
    assert skipped.due_times is None
    assert late.due_at == START + timedelta(days=3650)


def test_what_a_pause_leaves_behind() -> None:
    found = passed(due(), at(3.5), "paused by ada")
    assert found
    assert told(found) == ("skipped", 1, 3, 3)
    assert found.reason == "paused by ada"
    assert passed(due(), at(0.5), "paused by ada") is None


def test_a_clock_that_was_set_back_makes_nothing_due_twice() -> None:
    """The cursor is ahead of the clock then, and what is decided is decided."""
    decision = decide(due(), at(10))
    assert decision.next_at == at(11)
    assert passed(due(first=decision.next_at), at(5), "") is None
    later = decide(due(first=decision.next_at), at(11))
    assert [told(each)[1] for each in later.occurrences] == [11]


SCHEDULES = st.sampled_from(
    [
        {"every": 60.0},
        {"every": 3601.5},
        {"cron": "*/7 * * * *", "timezone": "Europe/Berlin"},
        {"cron": "30 2 * * *", "timezone": "Europe/Berlin"},
        {"cron": "15 1,2 * * *", "timezone": "Australia/Lord_Howe"},
        {"at": at(600).isoformat()},
    ]
)


@given(SCHEDULES, st.sampled_from(["0", "1", "all"]), st.lists(st.floats(0.01, 2000), min_size=1, max_size=12))
def test_every_due_time_gets_exactly_one_outcome(schedule: Any, mode: str, looks: list[float]) -> None:
    """Whenever anybody looks: the outcomes of all looks, one behind the other, are all due times without a gap."""
    table, now, cursor = timetable(schedule, START), START, timetable(schedule, START).after(START)
    decided = list[Decided]()
    for minutes in looks:
        now += timedelta(minutes=minutes)
        while cursor is not None and cursor <= now:
            decision = decide(Due(schedule, START, cursor, mode), now)
            decided += decision.occurrences
            cursor = decision.next_at
    wanted, following = list[datetime](), table.after(START)
    while following is not None and following <= now:
        wanted.append(following)
        following = table.after(following)
    assert cursor == following
    covered = list[datetime]()
    for each in decided:
        inside = [time for time in wanted if each.due_at <= time <= each.last_at]
        assert each.due_times in (None, len(inside))
        assert len(inside) == 1 or not each.fires
        covered += inside
    assert covered == wanted
    if mode == "all":
        assert all(each.fires for each in decided)


def test_lateness_is_told_as_people_say_it() -> None:
    times = [shown(timedelta(seconds=seconds)) for seconds in (4.4, 65, 3600, 100_000)]
    assert times == ["4s", "1m 5s", "1h 0m", "1d 3h"]
    assert LATE < GRACE
    assert OccurrenceOutcome.LATE.value == "late"
