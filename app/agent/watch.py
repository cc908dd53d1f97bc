"""The agents as they are now: an edit of a folder is taken up at the next turn, a broken one is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from app.agent.folder import AgentSettings, AgentSpec, fingerprint, load_agent
from app.errors import ConfigError, Refused

LOOK_EVERY = 1.0
"""Seconds between two looks at one folder."""

log = structlog.get_logger(__name__)


class FleetSettings(Protocol):
    """What of the settings is needed here."""

    @property
    def agents(self) -> Mapping[str, AgentSettings]: ...
    @property
    def watch(self) -> bool: ...


@dataclass
class Seat:
    """One agent: the last good reading of its folder, and what is known about the folder since."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    spec: AgentSpec | None = None
    seen: str = ""
    """The fingerprint at the last reading, good or not."""
    looked_at: float = 0.0
    asked: object = None
    """The `reload` that the last reading answered."""


class LiveAgents:
    """Every agent of the settings. May be used by any number of threads."""

    def __init__(
        self,
        settings: FleetSettings,
        load: Callable[[str, AgentSettings], AgentSpec] = load_agent,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._load = load
        self._clock = clock
        self._seats = {name: Seat() for name in settings.agents}
        self._asked: object = None

    def get(self, agent_id: str) -> AgentSpec:
        """The agent as its folder stood at the last look.

        Raises Refused for an agent that isn't configured, ConfigError where its folder was never any good.
        """
        seat = self._seats.get(agent_id)
        if seat is None:
            raise Refused(f"no agent is named {agent_id}", status=404)
        if seat.spec is None:
            with seat.lock:
                return seat.spec or self._first(agent_id, seat)
        # Another thread is looking: its reading is for the next turn, this one need not wait for it.
        if self._is_due(seat) and seat.lock.acquire(blocking=False):
            try:
                if self._is_due(seat):
                    self._look(agent_id, seat)
            finally:
                seat.lock.release()
        return seat.spec

    def reload(self) -> None:
        """Read every folder anew at its next use. Takes no lock, so that a signal handler may call it."""
        self._asked = object()

    def _first(self, agent_id: str, seat: Seat) -> AgentSpec:
        self._note(agent_id, seat)
        seat.spec = self._load(agent_id, self._settings.agents[agent_id])
        return seat.spec

    def _is_due(self, seat: Seat) -> bool:
        asked = seat.asked is not self._asked
        return asked or (self._settings.watch and self._clock() - seat.looked_at >= LOOK_EVERY)

    def _look(self, agent_id: str, seat: Seat) -> None:
        """Read the folder again if it changed or a reload was asked for; keep the last good reading if it is broken."""
        asked, seen = seat.asked is not self._asked, seat.seen
        self._note(agent_id, seat)
        if not asked and seat.seen == seen:
            return
        try:
            seat.spec = self._load(agent_id, self._settings.agents[agent_id])
        except ConfigError as error:
            log.error("agent_refused", agent=agent_id, problems=error.problems)
            return
        log.info("agent_reloaded", agent=agent_id, tools=list(seat.spec.tools), fingerprint=seat.spec.fingerprint)

    def _note(self, agent_id: str, seat: Seat) -> None:
        """Remember what is about to be read, before it is read: a change meanwhile is seen at the next look."""
        seat.asked = self._asked
        seat.looked_at = self._clock()
        seat.seen = fingerprint(self._settings.agents[agent_id].path)
