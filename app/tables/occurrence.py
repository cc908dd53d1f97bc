from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from app.states import OccurrenceOutcome, sql_list
from app.tables.base import Base, WithId


class Occurrence(WithId, Base):
    """What became of a due time of a job, or of several in a row that were skipped: each has one outcome on record."""

    __tablename__ = "occurrence"
    __table_args__ = (
        UniqueConstraint("job_id", "due_at"),
        CheckConstraint(f"outcome IN ({sql_list(OccurrenceOutcome)})", name="outcome"),
        Index("ix_occurrence_decided_at", "decided_at"),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("job.id"))
    due_at: Mapped[datetime]
    last_at: Mapped[datetime]
    """The last due time that this speaks of; `due_at` itself but for a range."""
    due_times: Mapped[int | None]
    """How many they are; null: more than were counted."""
    outcome: Mapped[str]
    reason: Mapped[str | None]
    """Why it was skipped, or how late it was."""
    runs: Mapped[int] = mapped_column(server_default="0")
    """Targets that got a run."""
    passed_over: Mapped[int] = mapped_column(server_default="0")
    """Targets that did not, since their last run had not ended, or somebody was active there."""
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())
