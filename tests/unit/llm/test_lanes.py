from __future__ import annotations

from contextlib import ExitStack
from itertools import count

import pytest

from app.llm.lanes import Lanes


def test_a_client_has_few_requests_at_a_time_and_the_first_ones_are_used_first() -> None:
    made = count(1)
    lanes = Lanes(0, lambda: next(made), room=2)
    with ExitStack() as first, ExitStack() as others:
        assert first.enter_context(lanes.client()) == 0
        assert [others.enter_context(lanes.client()) for _ in range(4)] == [0, 1, 1, 2]
        first.close()
        assert others.enter_context(lanes.client()) == 0
    with lanes.client() as client:
        assert client == 0
    assert next(made) == 3


def test_room_is_given_back_after_an_error() -> None:
    lanes = Lanes("first", lambda: "second", room=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="first"), lanes.client() as client:
            raise ValueError(client)
