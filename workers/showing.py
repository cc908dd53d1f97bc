"""A worker or runner as the fleet, its probes and its supervisor see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app import meters
from app.config.settings import Settings
from app.db import Database
from app.errors import Transient
from app.probe import Probe
from app.processes import Presence
from workers.consuming import Consuming, Watchdog


@contextmanager
def shown(settings: Settings, db: Database, kind: str, consuming: Consuming, redis_url: str) -> Iterator[None]:
    """Tell that it lives and works while it does. Raises Transient where it was ended since it got no messages: then
    its supervisor is to start it again."""
    probe = Probe(settings.health, kind, consuming.problem, meters.text)
    presence = Presence(db, kind, consuming.problem)
    watchdog = Watchdog(consuming, redis_url, settings.drain)
    probe.start()
    presence.start()
    watchdog.start()
    try:
        yield
    finally:
        watchdog.close()
        presence.close()
        probe.close()
    if consuming.ended:
        raise Transient("it got no messages from Redis any more, though Redis answers: to be started again")
