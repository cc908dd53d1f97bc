from __future__ import annotations

import uuid

from sqlalchemy import Float, ForeignKey, Numeric, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, WithCreated, WithId


class Step(WithCreated, WithId, Base):
    """One model request inside a turn, and what it cost."""

    __tablename__ = "step"
    __table_args__ = (UniqueConstraint("turn_id", "n"),)

    turn_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("turn.id"))
    n: Mapped[int]
    """From 1."""
    model: Mapped[str]
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    cost: Mapped[float | None] = mapped_column(Numeric)
    """US dollars, where the provider's price is known."""
    took_ms: Mapped[float] = mapped_column(Float)
