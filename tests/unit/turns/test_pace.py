"""Turns of jobs take turns; those of people wait for none of them."""

from __future__ import annotations

import threading

import pytest

from app.turns.pace import Pace


def test_a_job_s_turn_waits_for_room_and_a_person_s_does_not() -> None:
    pace, inside, passed = Pace(room=1), threading.Event(), threading.Event()

    def second() -> None:
        with pace.slow(scheduled=True):
            inside.set()

    thread = threading.Thread(target=second)
    with pace.slow(scheduled=True):
        thread.start()
        with pace.slow(scheduled=False):
            passed.set()
        assert not inside.wait(0.2)
        with pace.away():
            # What waits for its model leaves its room to the next.
            assert inside.wait(10)
    thread.join(10)
    assert passed.is_set()


def test_room_is_given_back_whatever_happens() -> None:
    pace = Pace(room=1)
    for _ in range(3):
        with pytest.raises(ValueError), pace.slow(scheduled=True), pace.away():  # noqa: PT011 (any would do)
            raise ValueError
    with pace.slow(scheduled=True):
        pass
    with pace.away():
        pass
