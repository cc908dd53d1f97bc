from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.states import JobState
from app.tables.base import Base, WithCreated, WithId, state_check

NULLABLE = JSONB(none_as_null=True)


class Job(WithCreated, WithId, Base):
    """A schedule, as the configuration has it, and its cursor. Jobs that are gone from there stay, paused."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("agent", "name"),
        state_check(JobState),
        CheckConstraint("kind IN ('cron', 'heartbeat')", name="kind"),
        CheckConstraint("max_catch_up IN ('0', '1', 'all')", name="max_catch_up"),
        CheckConstraint("(targets IS NULL) <> (scope IS NULL)", name="one_reach"),
        # Those over threads are looked for by themselves: their fan-out must not hold the others up.
        Index("ix_job_due_targets", "next_at", postgresql_where=text("state = 'active' AND scope IS NULL")),
        Index("ix_job_due_scope", "next_at", postgresql_where=text("state = 'active' AND scope IS NOT NULL")),
    )

    agent: Mapped[str]
    name: Mapped[str]
    """Its `id` in the configuration."""
    kind: Mapped[str]
    schedule: Mapped[dict[str, Any]]
    """See `app.timetable.timetable`."""
    anchor: Mapped[datetime]
    """What an interval is counted from: when the schedule was installed."""
    targets: Mapped[list[Any] | None] = mapped_column(NULLABLE)
    """Each `{adapter, kind, name}`."""
    scope: Mapped[dict[str, Any] | None] = mapped_column(NULLABLE)
    """By adapter: `{teams, channels, users}`, each a list or null."""
    idle: Mapped[float | None]
    """Seconds in which nobody has written in a thread."""
    prompt: Mapped[str]
    model: Mapped[str | None]
    max_catch_up: Mapped[str]
    state: Mapped[str]
    paused_by: Mapped[str | None]
    """Whoever paused it by hand, or `config`."""
    gone_at: Mapped[datetime | None]
    """When it was found missing from the configuration; null: it is there."""
    next_at: Mapped[datetime | None]
    """The cursor: its first due time that has no outcome yet. Null: there will be none."""
    revision: Mapped[int] = mapped_column(server_default="1")
    """Raised by each change of the row that a decision about what is due may have missed."""
