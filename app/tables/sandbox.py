from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Lane, WithCreated, WithId


class Sandbox(Lane, WithCreated, WithId, Base):
    """The execution environment of one scope. As a lane it orders the scope's commands."""

    __tablename__ = "sandbox"
    __table_args__ = (
        UniqueConstraint("agent", "runtime", "scope_key"),
        Index("ix_sandbox_wake_at", "wake_at", postgresql_where=text("wake_at IS NOT NULL")),
    )

    agent: Mapped[str]
    runtime: Mapped[str]
    scope_key: Mapped[str]
    runner_id: Mapped[str | None] = mapped_column(ForeignKey("runner.id"))
    """The runner that hosted it last: its calls go to that runner's own queue while it lives."""
    workspace_id: Mapped[str | None]
    """Which workspace folder holds its files, for runtimes that have one."""
    generation: Mapped[int] = mapped_column(server_default="0")
    """Raised with each new snapshot, so that a runner knows whether the one it holds open is current."""
    snapshot: Mapped[bytes | None] = mapped_column(LargeBinary)
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
