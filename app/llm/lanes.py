"""Clients side by side, each with few requests at a time.

httpcore2 looks at every connection of a pool whenever a request starts or ends, so the cost of one pool grows with the
square of what is in flight: 2000 requests at once cost 8 s of CPU over one pool and 4.5 s over lanes of 32. See
`_assign_requests_to_connections` in https://github.com/pydantic/httpx2/blob/main/src/httpcore2/httpcore2/_async/connection_pool.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

C = TypeVar("C")

ROOM = 32


@dataclass(slots=True)
class Lane(Generic[C]):
    client: C
    busy: int = 0


class Lanes(Generic[C]):
    """Makes clients as they are needed, beside the first. Used on the event loop only, so it needs no lock."""

    def __init__(self, first: C, make: Callable[[], C], room: int = ROOM) -> None:
        self._make = make
        self._room = room
        self._lanes = [Lane(first)]

    @contextmanager
    def client(self) -> Iterator[C]:
        """The first client with room for one more request: so the earlier ones keep their connections warm."""
        lane = next((lane for lane in self._lanes if lane.busy < self._room), None)
        if lane is None:
            lane = Lane(self._make())
            self._lanes.append(lane)
        lane.busy += 1
        try:
            yield lane.client
        finally:
            lane.busy -= 1
