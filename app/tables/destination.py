from __future__ import annotations

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Lane, WithCreated, WithId


class Destination(Lane, WithCreated, WithId, Base):
    """Where deliveries go. As a lane it keeps them in order."""

    __tablename__ = "destination"
    __table_args__ = (
        UniqueConstraint("adapter", "address"),
        Index("ix_destination_wake_at", "wake_at", postgresql_where=text("wake_at IS NOT NULL")),
    )

    adapter: Mapped[str]
    address: Mapped[str]
    last_seq: Mapped[int] = mapped_column(server_default="0")
    """The number of the delivery staged last."""
