"""The local adapter: `heyfleet chat`. A delivery is there to be read once its row says sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.errors import Permanent
from app.ports import Drafts, InDoubt
from app.results import Absent, Place, Sent
from app.traffic import Limit, Outbound


class LocalAdapter:
    """See `app.ports.Adapter`. Nothing leaves the database, so nothing can fail."""

    in_doubt: InDoubt = "resend"
    drafts: Drafts = "shown"
    answers_each = True

    def __init__(self, name: str) -> None:
        self.name = name

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:  # noqa: ARG002 (the port's signature)
        return thread_key

    def progress(self, reply: Mapping[str, Any]) -> None:  # noqa: ARG002
        return

    def place(self, kind: str, name: str) -> Place:
        """The thread of that name (`heyfleet chat --thread NAME`); `@NAME` for a user."""
        key = f"@{name}" if kind == "user" else name
        return Place(key, key)

    def limits(self, delivery: Outbound) -> tuple[Limit, ...]:  # noqa: ARG002
        return ()

    def fetch(self, source: Mapping[str, Any], most: int) -> bytes:  # noqa: ARG002
        raise Permanent("its adapter keeps no files")

    def settle(self, delivery: Outbound) -> Absent:  # noqa: ARG002
        return Absent()

    def send(self, delivery: Outbound) -> Sent:  # noqa: ARG002
        return Sent()
