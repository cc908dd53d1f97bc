"""Bringing a database up to this version's tables, and saying whether that is still to be done."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from app.db import Database


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    # Alembic's config is an ini file: a % in a password would be taken for interpolation.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def migrate(url: str) -> None:
    """Apply every pending migration. Safe to run from many processes at once."""
    command.upgrade(alembic_config(url), "head")


def create_revision(url: str, message: str) -> None:
    """Write a new migration from the difference between the tables and the database at `url`."""
    command.revision(alembic_config(url), message, autogenerate=True)


def head() -> str:
    """The newest migration that this version knows."""
    return revisions()[0]


@cache
def revisions() -> tuple[str, ...]:
    """All migrations that this version knows, the newest first; read once, since `/ready` asks often."""
    return tuple(script.revision for script in ScriptDirectory.from_config(alembic_config("")).walk_revisions())


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
