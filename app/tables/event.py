from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, WithCreated, WithId


class Event(WithCreated, WithId, Base):
    """One row of the append-only audit trail, tied by its trace from webhook to delivery."""

    __tablename__ = "event"
    __table_args__ = (Index("ix_event_trace", "trace", "id"), Index("ix_event_created_at", "created_at"))

    trace: Mapped[str]
    kind: Mapped[str]
    thread_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("thread.id"), index=True)
    turn_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("turn.id"), index=True)
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
