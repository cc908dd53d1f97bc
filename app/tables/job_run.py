from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.states import OPEN_RUNS, JobRunState, sql_list
from app.tables.base import Base, WithCreated, WithId, state_check

QUEUED = text("state = 'queued'")
RUNNING = text("state = 'running'")
STILL_OPEN = text(f"state IN ({sql_list(OPEN_RUNS)})")


class JobRun(WithCreated, WithId, Base):
    """One firing of a job at one target. How its reply was delivered is the delivery's to tell."""

    __tablename__ = "job_run"
    __table_args__ = (
        # The promise that a job fires once, whoever believes to lead.
        UniqueConstraint("job_id", "due_at", "target"),
        Index("uq_job_run_turn_id", "turn_id", unique=True, postgresql_where=text("turn_id IS NOT NULL")),
        state_check(JobRunState),
        Index("ix_job_run_queued", "fanned_out", "due_at", "id", postgresql_where=QUEUED),
        Index("ix_job_run_running", "fanned_out", postgresql_where=RUNNING),
        Index("ix_job_run_open", "job_id", "target", postgresql_where=STILL_OPEN),
        Index("ix_job_run_created_at", "created_at"),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("job.id"))
    due_at: Mapped[datetime]
    target: Mapped[str]
    """Where it runs, for people: `local:ops`, `local:@ada`."""
    adapter: Mapped[str]
    """Started only by processes that have it: not by one whose configuration is older than the job."""
    place: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The target as the job names it, `{adapter, kind, name}`; null: the thread."""
    thread_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("thread.id"))
    """The thread that a heartbeat found; null: the target's place says which."""
    fanned_out: Mapped[bool]
    """One of many over threads, which share few places."""
    state: Mapped[str]
    asked_by: Mapped[str | None]
    """Who asked for it by hand; null: its time had come."""
    turn_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("turn.id"))
    """The turn that it is, from when it has begun."""
    error: Mapped[str | None]
    """Why it failed or was skipped."""
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
