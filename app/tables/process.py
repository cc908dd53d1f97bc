from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, func
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base


class Process(Base):
    """A process of the fleet, as it says itself every few seconds. For people and probes to look at: nothing is decided
    by it."""

    __tablename__ = "process"
    __table_args__ = (Index("ix_process_heartbeat_at", "heartbeat_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    """One for each start."""
    kind: Mapped[str]
    """worker, runner, beat, gateway or web."""
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=func.now())
    problem: Mapped[str | None]
    """Why it does not do its work, though it lives; NULL: it does."""
    stopped_at: Mapped[datetime | None]
    """When it ended in order."""
