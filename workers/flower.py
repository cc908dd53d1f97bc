"""Flower, for looking at Celery."""

from __future__ import annotations

import os

from app.config.load import Loaded
from app.queue import make_app


def run(loaded: Loaded, database_url: str, redis_url: str) -> None:  # noqa: ARG001 (as the other processes)
    """Serve Flower until told to stop. Tasks are named for what they do (heyfleet.thread, heyfleet.destination,
    heyfleet.sandbox), and their one argument is the lane: `heyfleet thread ID` shows what is behind it."""
    settings = loaded.settings.flower
    if settings.basic_auth is not None:
        # Not among the arguments, which whoever is on this machine can read.
        # https://flower.readthedocs.io/en/latest/config.html#basic-auth
        os.environ["FLOWER_BASIC_AUTH"] = settings.basic_auth.get_secret_value()
    app = make_app(redis_url)
    app.start(
        argv=[
            "flower",
            f"--address={settings.host}",
            f"--port={settings.port}",
            "--logging=warning",
            # Flower keeps events in memory only; Postgres has the history.
            "--persistent=False",
            "--tasks_columns=name,uuid,state,args,received,started,runtime,worker",
        ]
    )
