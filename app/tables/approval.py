from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.states import ApprovalState
from app.tables.base import Base, WithCreated, WithId, state_check

PENDING = text("state = 'pending'")


class Approval(WithCreated, WithId, Base):
    """A decision on one call that a person is asked for, committed with the step that asked for the call."""

    __tablename__ = "approval"
    __table_args__ = (
        UniqueConstraint("code"),
        UniqueConstraint("call_id"),
        state_check(ApprovalState),
        Index("ix_approval_pending_thread", "thread_id", postgresql_where=PENDING),
        Index("ix_approval_pending_until", "expires_at", postgresql_where=PENDING),
        Index("ix_approval_created_at", "created_at"),
    )

    code: Mapped[str]
    """What people call it by: short, made at random."""
    call_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("call.id"))
    turn_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("turn.id"), index=True)
    thread_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("thread.id"))
    adapter: Mapped[str]
    requester: Mapped[str]
    """The turn's actor: for whom the call would be made."""
    digest: Mapped[str]
    """SHA-256 of tool and arguments: what was decided about, and nothing else, may be run."""
    reason: Mapped[str]
    details: Mapped[str]
    state: Mapped[str]
    expires_at: Mapped[datetime]
    """No answer until then means no."""
    decided_by: Mapped[str | None]
    decided_via: Mapped[str | None]
    """The adapter by which the answer came, `cli`, or `heyfleet` itself."""
    decided_at: Mapped[datetime | None]
