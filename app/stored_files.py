"""Files that go with a delivery, read when they are needed: all of a reply's at once may be too much."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from app.db import Database

BODY = "SELECT body FROM attachment WHERE id = :id"


class StoredFile(Mapping[str, str]):
    """`{name, media_type, data}` with `data` in base64. Reading `data` may raise Unavailable."""

    def __init__(self, db: Database, told: Mapping[str, Any]) -> None:
        self._db = db
        self._told = told

    def __getitem__(self, key: str) -> str:
        if key == "data":
            row = self._db.one(BODY, id=self._told["id"])
            return base64.b64encode(row.body).decode() if row is not None else ""
        return str({"name": self._told["name"], "media_type": self._told["media_type"]}[key])

    def __iter__(self) -> Iterator[str]:
        return iter(("name", "media_type", "data"))

    def __len__(self) -> int:
        return 3
