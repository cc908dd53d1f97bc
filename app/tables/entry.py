from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, WithCreated


class Entry(WithCreated, Base):
    """One message of a thread's transcript as the model sees it, in the model library's own serialised form."""

    __tablename__ = "entry"
    __table_args__ = (CheckConstraint("kind IN ('request', 'response', 'summary')", name="kind"),)

    thread_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("thread.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    """The order in the thread. A summary stands for everything before it."""
    turn_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("turn.id"), index=True)
    kind: Mapped[str]
    format: Mapped[int]
    """Version of the serialised form."""
    body: Mapped[dict[str, Any]]
