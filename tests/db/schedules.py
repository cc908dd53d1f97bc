"""Jobs for tests: made as a configuration would, and moved in time by moving what is stored of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.config.jobs import JobSpec
from app.db import Database
from app.jobs.installing import install
from tests.db.rows import rows, value

HOUR = 3600.0


def spec(name: str = "round", *, at: Any = ("ops",), **more: Any) -> JobSpec:
    """A job each hour with the channels `at` as its targets, or with `scope`."""
    targets = None if "scope" in more else tuple({"adapter": "note", "kind": "channel", "name": each} for each in at)
    fields: Mapping[str, Any] = {
        "agent": "default",
        "name": name,
        "kind": "cron" if targets else "heartbeat",
        "schedule": {"every": HOUR},
        "targets": targets,
        "scope": None,
        "idle": None,
        "prompt": f"do {name}",
        "model": None,
        "max_catch_up": "1",
        "state": None,
    }
    return JobSpec(**{**fields, **more})


def over(**filters: Any) -> dict[str, Any]:
    """A scope over threads of the adapter that notes."""
    return {"note": {"teams": None, "channels": None, "users": None, **filters}}


def installed(db: Database, *specs: JobSpec) -> None:
    install(db, list(specs))


FAR = 1e9
"""Seconds."""


def pass_time(db: Database, seconds: float) -> None:
    """As if so much time had gone by for all jobs and what became of them."""
    for table, columns in (
        ("job", ("anchor", "next_at")),
        ("job_run", ("due_at",)),
        ("occurrence", ("due_at", "last_at")),
    ):
        # Far away and back: Postgres looks at each row by itself, and one that comes where another still is clashes.
        for shift in (-seconds - FAR, FAR):
            moved = ", ".join(f"{column} = {column} + make_interval(secs => :s)" for column in columns)
            db.rows(f"UPDATE {table} SET {moved}", s=shift)


def job_of(db: Database, name: str = "round") -> Any:
    return value(db, "SELECT id FROM job WHERE name = :name", name=name)


def runs(db: Database, columns: str = "target, state", order: str = "due_at, target") -> list[tuple[Any, ...]]:
    return rows(db, f"SELECT {columns} FROM job_run ORDER BY {order}")


def outcomes(db: Database) -> list[tuple[Any, ...]]:
    return rows(db, "SELECT outcome, due_times, runs, passed_over, reason FROM occurrence ORDER BY due_at")
