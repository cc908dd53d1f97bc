"""Does this process get its messages? Its heartbeat and its probe ask; one that does not is ended, to begin anew."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
import structlog
from redis.exceptions import RedisError

from app.starting import EXIT_CODE
from app.wake_transport import Pulse, pulse

log = structlog.get_logger()

SILENT_AFTER = 30.0
"""Seconds without a word from the broker. It answers each second, even where it has nothing."""
ENDED_AFTER = 150.0
"""Seconds after which a process that gets nothing is ended, if a new connection would help it. kombu drops one that
says nothing after 60 s; this is for what it does not find out."""
ANSWERS_FOR = 90.0
"""Seconds for which Redis must have answered others all the while: Celery needs a while for a new one."""
LAST_RESORT = 15.0
"""Seconds beyond `drain` after which it is ended in any case."""


class Consuming:
    """Of one worker or runner."""

    def __init__(
        self,
        threads: int,
        heard: Pulse = pulse,
        draining: threading.Event | None = None,
    ) -> None:
        """`draining` is set once the process takes nothing new."""
        self.draining = draining or threading.Event()
        self.threads = threads
        self.heard = heard
        self.ended = False
        """The watchdog has told the process to end."""
        self._busy = 0
        self._lock = threading.Lock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A thread is at a task. Where all are, nothing is fetched, and nothing is heard."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
            if self._busy == self.threads - 1:
                # From here on there should be something to hear again.
                self.heard.beat()

    def problem(self) -> str | None:
        """Why this process gets no messages, though it has threads for them; None where it does."""
        age = self.heard.age
        if self.draining.is_set() or self._busy >= self.threads or age < SILENT_AFTER:
            return None
        return f"it has heard nothing from Redis for {age:.0f} s, and gets no work: is Redis there? If so, restart it"


class Watchdog:
    """Ends a process that has got no messages for a while, where a new connection to the broker would work: its
    supervisor starts another one, which has such a connection."""

    def __init__(
        self,
        consuming: Consuming,
        redis_url: str,
        drain: float,
        end: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.consuming = consuming
        self.clock = clock
        self.drain = drain
        self.end = end or self._terminate
        self._client = redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._answers_since: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()

    def look(self) -> bool:
        """Whether the process is to be ended; tells it to, once."""
        silent = self.consuming.problem() is not None and self.consuming.heard.age >= ENDED_AFTER
        if not silent or self.consuming.ended:
            self._answers_since = None
            return False
        if not self._has_answered_for(ANSWERS_FOR):
            return False
        self.consuming.ended = True
        log.error("restarting", why=self.consuming.problem())
        self.end()
        return True

    def _run(self) -> None:
        while not self._ended.wait(5.0):
            self.look()

    def _has_answered_for(self, seconds: float) -> bool:
        """Over a connection of its own. Where Redis is away, there is nothing that a new process could do better; and
        when it comes back, the library needs a while to find that out."""
        try:
            self._client.ping()
        except RedisError:
            self._answers_since = None
            return False
        if self._answers_since is None:
            self._answers_since = self.clock()
        return self.clock() - self._answers_since >= seconds

    def _terminate(self) -> None:
        """As a supervisor would; and as hard as it takes, since the thread that reads the broker may hang in it."""
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Thread(target=self._insist, name="last resort", daemon=True).start()

    def _insist(self) -> None:
        time.sleep(self.drain + LAST_RESORT)  # for which its turns have to come to a step border
        log.critical("ended_by_force")
        os._exit(EXIT_CODE)
