from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base


class Slot(Base):
    """One of the fleet's places for a running command (`runtime.max_concurrent`)."""

    __tablename__ = "slot"

    n: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    call_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("call.id"), index=True)
    held_until: Mapped[datetime | None]
    """Renewed with the lease of the sandbox; past or null: free."""
