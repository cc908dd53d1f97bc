"""What all tables share: constraint names, id and time columns, and the columns of a lane."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, MetaData, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.states import sql_list


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        str: Text(),
        int: BigInteger(),
        datetime: DateTime(timezone=True),
        uuid.UUID: Uuid(),
        dict[str, Any]: JSONB(),
        list[Any]: JSONB(),
    }


def state_check(states: type[StrEnum]) -> CheckConstraint:
    """The states of `app.states` as a CHECK: text and a constraint are easier to widen than an enum type."""
    return CheckConstraint(f"state IN ({sql_list(states)})", name="state")


class WithId:
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """UUIDv7, made by the process that writes the row."""


class WithCreated:
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Lane:
    """A row that at most one process works on at a time. `app.leases` is the only writer of the lease columns."""

    lease_owner: Mapped[str | None]
    """Which process holds it, for people."""
    lease_token: Mapped[int] = mapped_column(server_default="0")
    """Raised by each taking; every write of a holder names the token it got (fencing)."""
    lease_until: Mapped[datetime | None]
    """By the database's clock; past or null: free."""
    version: Mapped[int] = mapped_column(server_default="0")
    """Raised by each write that concerns the lane's work, so that a holder sees that something came meanwhile."""
    wake_at: Mapped[datetime | None]
    """When somebody should work on it next; null: there is nothing to do."""
