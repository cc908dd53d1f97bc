"""What a turn needs of the process it runs in; `app.bootstrap` puts it together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.clock import now
from app.config.settings import Settings
from app.db import Database
from app.errors import Permanent
from app.leases import Keeper
from app.ports import Adapter, Drafts, InDoubt, Model, Tool
from app.queue import Wakes
from app.rate_limits import RateLimits
from app.results import Ambiguous, Failed, Held, Retry, SendResult, Settled
from app.traffic import Limit, Outbound
from app.turns.pace import Pace


@dataclass(frozen=True, slots=True)
class Persona:
    """An agent as it is right now."""

    model: Model
    tools: Mapping[str, Tool]
    system: Callable[[Mapping[str, str]], str]
    """The system prompt, given the context blocks."""


@dataclass(frozen=True, slots=True)
class TurnServices:
    """One process's means of working on turns."""

    current: Callable[[], Settings]
    """The settings as they are now."""
    db: Database
    keeper: Keeper
    wakes: Wakes
    adapters: Mapping[str, Adapter]
    persona: Callable[[str, str | None], Persona]
    """An agent by its id; with another model than its own where one is named."""
    publish_draft: Callable[[UUID, str], None]
    """Shows what the model has said so far to whoever looks on; best effort."""
    deliver: Callable[[UUID], None]
    """Works a destination's lane."""
    limits: RateLimits
    admit: Callable[[], object]
    """Starts runs of jobs where there is room for more."""
    pace: Pace
    draining: threading.Event
    """Set once the process takes no new work."""

    @property
    def settings(self) -> Settings:
        return self.current()

    def adapter(self, name: str) -> Adapter:
        """The adapter of that name; where it was taken out of the config, one that sends nothing."""
        return self.adapters.get(name) or Unconfigured(name)


ELSEWHERE = timedelta(minutes=10)
"""That a delivery waits for a process that has its adapter: a fleet may take that long to get a new configuration."""
LOOK_AGAIN_SECONDS = 5.0


class Unconfigured:
    """Stands for an adapter that rows still name and this process does not have: it is new, or was taken out."""

    in_doubt: InDoubt = "look"
    drafts: Drafts = "none"
    answers_each = False

    def __init__(self, name: str) -> None:
        self.name = name

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:  # noqa: ARG002 (the port's signature)
        return None

    def progress(self, reply: Mapping[str, Any]) -> None:  # noqa: ARG002
        return

    def place(self, kind: str, name: str) -> None:  # noqa: ARG002
        return

    def limits(self, delivery: Outbound) -> tuple[Limit, ...]:  # noqa: ARG002
        return ()

    def fetch(self, source: Mapping[str, Any], most: int) -> bytes:  # noqa: ARG002
        raise Permanent("its adapter keeps no files")

    def settle(self, delivery: Outbound) -> Settled:
        why = f"no adapter is named {self.name}"
        return Retry(why, LOOK_AGAIN_SECONDS, doubtful=True) if self._waits(delivery) else Ambiguous(why)

    def send(self, delivery: Outbound) -> SendResult:
        why = f"no adapter is named {self.name}"
        return Held(why, LOOK_AGAIN_SECONDS) if self._waits(delivery) else Failed(why)

    def _waits(self, delivery: Outbound) -> bool:
        return now() - delivery.staged_at < ELSEWHERE
