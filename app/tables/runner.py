from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base


class Runner(Base):
    """A worker that hosts sandboxes on one machine."""

    __tablename__ = "runner"

    id: Mapped[str] = mapped_column(primary_key=True)
    """Survives restarts."""
    host: Mapped[str]
    version: Mapped[str]
    runtimes: Mapped[list[Any]]
    capacity: Mapped[int]
    workspace_id: Mapped[str | None]
    instance: Mapped[str]
    """The process that registered last; an older one of the same id ends itself."""
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=func.now())
    stopped_at: Mapped[datetime | None]
