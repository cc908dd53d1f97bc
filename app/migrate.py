"""Bringing a database up to this version's tables, and saying whether that is still to be done."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

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
    found = ScriptDirectory.from_config(alembic_config("")).get_current_head()
    assert found is not None
    return found


def current(url: str) -> str | None:
    """The migration that the database is at; None for an empty one."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def pending(db: Database) -> bool:
    """Whether the database lacks a migration that this version needs; one round trip, for `/ready`."""
    found = db.one("SELECT to_regclass('alembic_version') IS NOT NULL AS any")
    if not found or not found.any:
        return True
    version = db.one("SELECT version_num FROM alembic_version")
    return version is None or version.version_num != head()
