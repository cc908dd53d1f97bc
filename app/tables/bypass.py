from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, WithCreated, WithId


class Bypass(WithCreated, WithId, Base):
    """A standing approval for one actor, for a short time, in one scope."""

    __tablename__ = "bypass"
    __table_args__ = (
        UniqueConstraint("code"),
        CheckConstraint("scope IN ('thread', 'channel', 'user', 'adapter')", name="scope"),
        Index("ix_bypass_actor", "adapter", "actor", "expires_at"),
    )

    code: Mapped[str]
    """What people call it by."""
    approval_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("approval.id"), index=True)
    """With whose answer it was granted."""
    adapter: Mapped[str]
    team: Mapped[str]
    channel: Mapped[str]
    thread_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("thread.id"))
    actor: Mapped[str]
    """Who is not asked."""
    scope: Mapped[str]
    granted_by: Mapped[str]
    expires_at: Mapped[datetime]
    revoked_by: Mapped[str | None]
    revoked_at: Mapped[datetime | None]
