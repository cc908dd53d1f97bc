from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.states import OPEN_CALLS, CallState, sql_list
from app.tables.base import Base, WithCreated, WithId, state_check


class Call(WithCreated, WithId, Base):
    """One tool call that a step asked for."""

    __tablename__ = "call"
    __table_args__ = (
        UniqueConstraint("turn_id", "step_n", "ordinal"),
        state_check(CallState),
        CheckConstraint("place IN ('runner', 'worker')", name="place"),
        Index("ix_call_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("ix_call_sandbox_open", "sandbox_id", "id", postgresql_where=text(f"state IN ({sql_list(OPEN_CALLS)})")),
    )

    turn_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("turn.id"))
    step_n: Mapped[int]
    ordinal: Mapped[int]
    tool_call_id: Mapped[str]
    tool: Mapped[str]
    args: Mapped[dict[str, Any]]
    place: Mapped[str]
    idempotent: Mapped[bool]
    """May be run again when nobody knows whether its first run finished."""
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("call.id"))
    """The trusted tool's call that asked for this one; the model knows nothing of it."""
    sandbox_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("sandbox.id"))
    state: Mapped[str]
    runner_id: Mapped[str | None]
    """Which runner or worker ran it."""
    result: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
