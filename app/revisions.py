"""Which migrations there are, and whether a database still lacks some. Without Alembic, whose 9 MB each process would
have for a look at its start."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from sqlalchemy import create_engine, text

from app.db import Database

REVISION = re.compile(r"^(revision|down_revision) = (?:None|['\"](\w+)['\"])$", re.MULTILINE)


def head() -> str:
    """The newest migration that this version knows."""
    return revisions()[0]


@cache
def revisions() -> tuple[str, ...]:
    """All migrations that this version knows, the newest first; read once, since `/ready` asks often."""
    after: dict[str, str] = {}
    for file in files("migrations.versions").iterdir():
        if file.name.startswith("m") and file.name.endswith(".py"):
            named = dict(REVISION.findall(file.read_text(encoding="utf-8")))
            after[named["down_revision"]] = named["revision"]
    found, newest = list[str](), ""
    while newest in after:
        newest = after[newest]
        found.insert(0, newest)
    return tuple(found)


def current(url: str) -> str | None:
    """The migration that the database is at; None for an empty one."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if not connection.execute(text("SELECT to_regclass('alembic_version')")).scalar():
                return None
            version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return version
    finally:
        engine.dispose()


def pending(db: Database) -> bool:
    """Whether the database lacks a migration that this version needs; two round trips, for `/ready`."""
    found = db.one("SELECT to_regclass('alembic_version') IS NOT NULL AS any")
    if not found or not found.any:
        return True
    version = db.one("SELECT version_num FROM alembic_version")
    return is_behind(version.version_num if version else None)


def is_behind(version: str | None) -> bool:
    """Whether a database at this migration is older than this program. One that it does not know is a newer one's:
    older processes go on while it is rolled out."""
    return version is None or version in revisions()[1:]


def missing(url: str) -> str | None:
    """What a starting process has to wait for, in words; None where there is nothing."""
    return "the migrations (heyfleet db migrate)" if is_behind(current(url)) else None
