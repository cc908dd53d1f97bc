"""Alarms: each lane is woken once its time has come, and whatever one wake does, the next ones come."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from uuid import UUID

import pytest

from app import alarms
from app.alarms import Alarms

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


class Rung:
    """Alarms, and the lanes that they woke, with the times."""

    def __init__(self) -> None:
        self.lanes: queue.Queue[tuple[UUID, float]] = queue.Queue()
        self.alarms = Alarms(self.wake)

    def wake(self, lane: UUID) -> None:
        self.lanes.put((lane, time.monotonic()))
        if lane == C:
            raise ZeroDivisionError


@pytest.fixture
def rung() -> Iterator[Rung]:
    made = Rung()
    try:
        yield made
    finally:
        made.alarms.close()


def test_each_is_woken_in_its_time_whatever_was_set_first(rung: Rung) -> None:
    began = time.monotonic()
    for lane, seconds in ((A, 0.2), (C, 0.05), (B, 0.1)):
        rung.alarms.set(lane, seconds)
    found = [rung.lanes.get(timeout=10) for _ in range(3)]
    assert [lane for lane, _ in found] == [C, B, A]
    assert all(at - began >= seconds for (_, at), seconds in zip(found, (0.05, 0.1, 0.2), strict=True))
    assert rung.lanes.empty()


def test_what_is_far_off_or_too_much_is_left_to_the_sweeper(rung: Rung, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "MOST", 1)
    rung.alarms.set(A, alarms.LONGEST + 1)
    rung.alarms.set(B, 0.05)
    rung.alarms.set(C, 0.01)
    assert rung.lanes.get(timeout=10)[0] == B
    assert rung.lanes.empty()


def test_nothing_is_woken_after_the_end(rung: Rung) -> None:
    rung.alarms.close()
    rung.alarms.set(A, 0)
    assert rung.lanes.empty()
