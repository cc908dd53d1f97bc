from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
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
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    """None: it is not here, but where `source` says; or can't be had, as `problem` says."""
    size: Mapped[int | None]
    """Bytes, as its provider says before it is here."""
    source: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What its adapter fetches it by."""
    problem: Mapped[str | None]
    """Why it can't be had."""
    text: Mapped[str | None]
    """Its content where it is short text: shown to the model as it is."""
