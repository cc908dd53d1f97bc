from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Lane, WithCreated, WithId


class Thread(Lane, WithCreated, WithId, Base):
    """One conversation: (agent, adapter, team, key)."""

    __tablename__ = "thread"
    __table_args__ = (
        UniqueConstraint("agent", "adapter", "team", "key"),
        Index("ix_thread_wake_at", "wake_at", postgresql_where=text("wake_at IS NOT NULL")),
        Index("ix_thread_last_active_at", "last_active_at"),
        Index("ix_thread_channel", "adapter", "channel", "last_asked_at"),
    )

    agent: Mapped[str]
    adapter: Mapped[str]
    team: Mapped[str] = mapped_column(server_default="")
    key: Mapped[str]
    channel: Mapped[str]
    last_seq: Mapped[int] = mapped_column(server_default="0")
    """The number of the turn accepted last: the order of a thread's turns."""
    open_turns: Mapped[int] = mapped_column(server_default="0")
    """Turns that are not finished; kept on this row because its lock makes the number exact."""
    context_from: Mapped[int] = mapped_column(server_default="0")
    """The first transcript entry that the model still sees: the last summary."""
    has_files: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether a file ever came with one of its messages: they are put into the sandbox before a call."""
    last_active_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_asked_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When a person wrote in it last; what a job started does not count."""
