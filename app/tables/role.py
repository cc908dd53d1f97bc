from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Lane


class Role(Lane, Base):
    """Work of the fleet that one process does for all (the sweeper), as a lane of its own."""

    __tablename__ = "role"

    name: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """What whoever leads leaves for who leads next: a place in what a provider tells."""
