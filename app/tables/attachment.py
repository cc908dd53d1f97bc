from __future__ import annotations

import uuid

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, WithCreated, WithId


class Attachment(WithCreated, WithId, Base):
    """A file that came with a message, or that a turn sends with its reply."""

    __tablename__ = "attachment"
    __table_args__ = (CheckConstraint("direction IN ('in', 'out')", name="direction"),)

    turn_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("turn.id"), index=True)
    direction: Mapped[str]
    name: Mapped[str]
    media_type: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    text: Mapped[str | None]
    """Its content where it is short text: shown to the model as it is."""
