from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, WithCreated, WithId


class Message(WithCreated, WithId, Base):
    """One inbound or outbound text of a thread, as people saw it."""

    __tablename__ = "message"
    __table_args__ = (
        CheckConstraint("direction IN ('in', 'out')", name="direction"),
        Index("ix_message_thread_id", "thread_id", "id"),
        Index("ix_message_turn_id", "turn_id"),
    )

    thread_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("thread.id"))
    turn_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("turn.id"))
    direction: Mapped[str]
    actor: Mapped[str]
    text: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(server_default=sql("'{}'"))
    """What a trusted caller sent along."""
