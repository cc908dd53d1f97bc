from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.states import ACTIVE_TURNS, OPEN_TURNS, TurnState, sql_list
from app.tables.base import Base, WithCreated, WithId, state_check

ONE_ACTIVE = text(f"state IN ({sql_list(ACTIVE_TURNS)})")
STILL_OPEN = text(f"state IN ({sql_list(OPEN_TURNS)})")


class Turn(WithCreated, WithId, Base):
    """The agent's whole response to one triggering message."""

    __tablename__ = "turn"
    __table_args__ = (
        UniqueConstraint("thread_id", "seq"),
        state_check(TurnState),
        Index("uq_turn_one_active", "thread_id", unique=True, postgresql_where=ONE_ACTIVE),
        Index("ix_turn_open", "adapter", postgresql_where=STILL_OPEN),
        Index("ix_turn_open_thread", "thread_id", "seq", postgresql_where=STILL_OPEN),
        Index("ix_turn_absorbed_by", "absorbed_by", postgresql_where=text("absorbed_by IS NOT NULL")),
        Index("ix_turn_created_at", "created_at"),
    )

    thread_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("thread.id"))
    seq: Mapped[int]
    """Its place among the thread's turns."""
    adapter: Mapped[str]
    state: Mapped[str]
    actor: Mapped[str]
    """Who asked; a turn never changes hands."""
    sender: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """What else its adapter vouches for of the actor, `{groups, bot}`."""
    trace: Mapped[str]
    reply: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Where its reply goes, in its adapter's words."""
    step_count: Mapped[int] = mapped_column(server_default="0")
    """Committed steps: the checkpoint that a resumed turn goes on from."""
    open_calls: Mapped[int] = mapped_column(server_default="0")
    """Calls of the last step that have no result yet."""
    failed_attempts: Mapped[int] = mapped_column(server_default="0")
    """Model requests of the current step that failed and may pass."""
    retry_at: Mapped[datetime | None]
    """Not before this time: the model said wait, or failed and may pass."""
    worked_ms: Mapped[int] = mapped_column(server_default="0")
    absorbed_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("turn.id"))
    """The turn that this one's message was given to as a steer."""
    command: Mapped[str | None]
    """The control command that its message is; the model sees nothing of such a turn."""
    job: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Of a turn that a job's run started: `{run, name, kind, model}`."""
    cancel_by: Mapped[str | None]
    """Who asked for it to be cancelled; set by anyone, acted on by the holder."""
    answer: Mapped[str | None]
    """What was replied in the end."""
    error: Mapped[str | None]
    """Why it failed, for the operator."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
