"""Fleets for tests that run whole processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import SECRET, Fleet
from tests.fakes.receiver import Receiver, receiving

MakeFleet = Callable[..., Fleet]


@pytest.fixture
def make_fleet(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[MakeFleet]:
    """Makes a fleet of this test's database and Redis: `make_fleet(web=1, worker=1, config={…})`."""
    made: list[Fleet] = []

    def make(config: dict[str, Any] | None = None, **counts: int) -> Fleet:
        fleet = Fleet(tmp_path / f"fleet-{len(made)}", database_url, redis_url, config=dict(config or {}))
        made.append(fleet)
        return fleet.up(**counts)

    yield make
    for fleet in made:
        fleet.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as found:
        yield found
