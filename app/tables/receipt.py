from __future__ import annotations

import uuid

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, WithCreated


class Receipt(WithCreated, Base):
    """A provider's event that was accepted: the key that makes a second delivery of it a duplicate, for every
    process."""

    __tablename__ = "receipt"
    __table_args__ = (Index("ix_receipt_created_at", "created_at"),)

    adapter: Mapped[str] = mapped_column(primary_key=True)
    event_key: Mapped[str] = mapped_column(primary_key=True)
    turn_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("turn.id"), index=True)
