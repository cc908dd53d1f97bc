from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.states import DeliveryState
from app.tables.base import Base, WithCreated, WithId, state_check

UNSENT = text("state IN ('pending', 'sending')")


class Delivery(WithCreated, WithId, Base):
    """One outbound effect on a provider, committed together with the turn that produced it."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("destination_id", "seq"),
        UniqueConstraint("turn_id", "kind"),
        state_check(DeliveryState),
        Index("ix_delivery_unsent", "destination_id", "seq", postgresql_where=UNSENT),
        Index("ix_delivery_created_at", "created_at"),
    )

    destination_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("destination.id"))
    seq: Mapped[int]
    """Its place among the destination's deliveries."""
    turn_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("turn.id"))
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default="0")
    sent: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))
    """What the other side calls the parts of it that have arrived."""
    doubtful: Mapped[bool] = mapped_column(server_default=text("false"))
    """Its next part may have arrived: the process that sent it died, or the answer to it was lost."""
    tried_at: Mapped[datetime | None]
    """When its next part was first tried, of those tries that may have arrived."""
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    error: Mapped[str | None]
    finished_at: Mapped[datetime | None]
