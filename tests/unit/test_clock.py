"""Ids that sort by when they were made."""

from __future__ import annotations

import time

from app.clock import uuid7


def test_ids_of_one_process_sort_in_the_order_in_which_they_were_made() -> None:
    made = []
    for _ in range(200):
        made.append(uuid7())
        began = time.time_ns()
        while time.time_ns() - began < 1000:
            pass
    assert made == sorted(made)
    assert len(set(made)) == 200
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}


def test_an_id_tells_its_millisecond() -> None:
    assert uuid7(1_700_000_000_123).int >> 80 == 1_700_000_000_123
    assert uuid7(5) < uuid7(6)
