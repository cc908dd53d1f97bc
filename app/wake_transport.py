"""Celery's Redis transport, less its bookkeeping for redelivery: a wake that is lost is made up for by the sweeper."""

from __future__ import annotations

import time
from queue import Empty
from typing import Any

from kombu.transport import redis

WAKE_TRANSPORT = "app.wake_transport:Transport"
"""For Celery's `broker_transport`."""


class Forgetting(redis.QoS):
    """Acknowledgement that needs no Redis command, where kombu's own takes four for each message.

    kombu notes every message that it fetched, and forgets it again on its acknowledgement, so that it can be
    redelivered after a crash: https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.redis.html
    """

    restore_at_shutdown = False

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note nothing."""

    def ack(self, delivery_tag: str) -> None:
        """There is nothing to forget."""

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """What is not worked on is woken again by the sweeper."""

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """There is nothing to redeliver."""


class Pulse:
    """When this process last heard from the broker over the connection by which it gets its messages.

    One for the process: kombu makes the channels, by the name of their class.
    """

    def __init__(self) -> None:
        self.at = time.monotonic()

    def beat(self) -> None:
        self.at = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self.at


pulse = Pulse()


class Channel(redis.Channel):
    """See Forgetting. Redis answers each BRPOP within a second, with a message or with none: that is the pulse."""

    QoS = Forgetting

    def _brpop_read(self, **options: Any) -> Any:
        try:
            found = super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu has no types
        except Empty:
            pulse.beat()
            raise
        pulse.beat()
        return found


class Transport(redis.Transport):
    """See Forgetting."""

    Channel = Channel
