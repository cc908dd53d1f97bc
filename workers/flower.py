"""Flower, for looking at Celery."""

from __future__ import annotations

from app.config.load import Loaded
from app.queue import make_app


def run(loaded: Loaded, database_url: str, redis_url: str) -> None:  # noqa: ARG001 (as the other processes)
    """Serve Flower until told to stop."""
    app = make_app(redis_url)
    app.start(
        argv=[
            "flower",
            f"--address={loaded.settings.flower.host}",
            f"--port={loaded.settings.flower.port}",
            "--logging=warning",
            # Flower keeps events in memory only; Postgres has the history.
            "--persistent=False",
        ]
    )
