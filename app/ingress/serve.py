"""gunicorn around the ingress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from app import meters, tracing
from app.bootstrap import core
from app.config.load import Loaded
from app.config.watch import LiveSettings
from app.ingress.app import create_app
from app.log import configure
from app.processes import Presence

KEEP_ALIVE_SECONDS = 30
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (gunicorn makes a file of its own in it)


class Log(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's log through the process's own, which knows what to hide."""

    def setup(self, cfg: Any) -> None:  # noqa: ARG002 (gunicorn's signature)
        self.error_log.propagate = True


class Web(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """The app is made in each worker process: connections must not be shared over a fork."""

    def __init__(self, loaded: Loaded, database_url: str, redis_url: str) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.database_url = database_url
        self.redis_url = redis_url
        self.presence: Presence | None = None
        super().__init__()

    def load_config(self) -> None:
        http = self.settings.http
        options: dict[str, Any] = {
            "bind": f"{bracketed(http.host)}:{http.port}",
            "workers": http.workers,
            "worker_class": "gthread",
            "threads": http.threads,
            "keepalive": KEEP_ALIVE_SECONDS,
            # A request may wait 30 s for a run's end; longer than that its process is stuck.
            "timeout": 60,
            # A caller may be waiting for its run's end.
            "graceful_timeout": max(1, round(self.settings.drain)),
            "worker_exit": self.worker_exits,
            "backlog": 1024,
            # The heartbeat file must not be on a disk that can block.
            # https://docs.gunicorn.org/en/stable/faq.html#how-do-i-avoid-gunicorn-excessively-blocking-in-os-fchmod
            "worker_tmp_dir": str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None,
            "logger_class": f"{__name__}.Log",
            # A socket in the user's home that two fleets would fight over, for commands that nobody uses.
            "control_socket_disable": True,
            "limit_request_line": 4096,
            "limit_request_fields": 50,
            "limit_request_field_size": 8190,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def worker_exits(self, server: Any, worker: Any) -> None:  # noqa: ARG002 (gunicorn counts the parameters)
        """In a process of gunicorn's, at its end."""
        if self.presence is not None:
            self.presence.close()
        tracing.end()

    def load(self) -> Flask:
        configure(self.settings.log.level, self.settings.log.format, "web")
        meters.forked()
        tracing.begin(self.settings.tracing, "web")
        live = LiveSettings(self.loaded)
        # This process may be one that gunicorn started anew (after a crash, on SIGHUP): the file may have changed since
        # its parent read it.
        live.reload()
        # A request is answered 503 rather than kept waiting for a connection.
        base = core(live.get, self.database_url, self.redis_url, "web", patience=1.0)
        self.presence = Presence(base.db, "web", lambda: None)
        self.presence.start()
        return create_app(base)


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def serve(loaded: Loaded, database_url: str, redis_url: str) -> None:
    """Serve until told to stop."""
    Web(loaded, database_url, redis_url).run()
