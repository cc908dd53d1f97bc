"""The settings as they are now: an edit of heyfleet.yaml, or of a job in an agent's folder, is taken up at the next
turn; a broken one is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from app.config.job_files import job_files
from app.config.jobs import JobSpec
from app.config.load import Loaded, load
from app.config.settings import Settings
from app.errors import ConfigError

LOOK_EVERY = 1.0

NEEDS_RESTART = (
    "database_url",
    "redis_url",
    "adapters",
    "http",
    "health",
    "flower",
    "runtime",
    "worker",
    "runner",
    "lease",
    "delivery",
    "retention",
    "attachments",
    "drain",
    "state_dir",
    "log",
    "tracing",
    "sentry_dsn",
)
"""Sections that a process reads once, when it starts."""

log = structlog.get_logger()


class LiveSettings:
    """The settings of one process, kept current. May be used by any number of threads."""

    def __init__(
        self, loaded: Loaded, read: Callable[[], Loaded] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first = loaded.settings
        self._settings = loaded.settings
        self._jobs = loaded.jobs
        self._path = loaded.path
        self._read = read or (lambda: load(loaded.path))
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp = self._stamp_now()
        self._looked_at = clock()
        self._asked = False

    def get(self) -> Settings:
        """The settings as of the last look at the file."""
        if self._due() and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._settings

    def jobs(self) -> list[JobSpec]:
        """The jobs as of the last look; another list where they were read anew."""
        self.get()
        return self._jobs

    def reload(self) -> None:
        """Read the file anew at its next use. Takes no lock, so that a signal handler may call it."""
        self._asked = True

    def _due(self) -> bool:
        return self._asked or (self._settings.watch and self._clock() - self._looked_at >= LOOK_EVERY)

    def _look(self) -> None:
        asked, self._asked = self._asked, False
        self._looked_at = self._clock()
        stamp = self._stamp_now()
        if not asked and stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            loaded = self._read()
            settings, jobs = loaded.settings, loaded.jobs
        except ConfigError as error:
            log.error("config_refused", problems=error.problems, cure="mend it; the last good one stays in force")
            return
        later = [name for name in NEEDS_RESTART if getattr(settings, name) != getattr(self._first, name)]
        if later:
            log.warning("config_needs_restart", keys=later, cure="restart the process for these keys")
        # What a process read at its start must not be half new.
        kept = {name: getattr(self._first, name) for name in NEEDS_RESTART}
        self._settings, self._jobs = settings.model_copy(update=kept), jobs
        log.info("config_reloaded")

    def _stamp_now(self) -> tuple[object, ...]:
        """What changes when one of the files does."""
        paths = [self._path] if self._path else []
        try:
            paths += [path for agent in self._settings.agents.values() for path in job_files(agent.path)]
        except OSError as error:
            return (str(error),)  # told by reading them, which this makes happen
        return tuple(stamp(path) for path in paths)


def stamp(path: Path) -> tuple[Path, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None  # gone since it was listed: another state than being there
    return path, found.st_mtime_ns, found.st_size
