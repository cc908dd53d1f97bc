"""Bringing a database up to this version's tables."""

from __future__ import annotations

import sys
from importlib.resources import files

from alembic import command
from alembic.config import Config


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


if __name__ == "__main__":
    # The URL has a password, which neither a command line nor an environment should show.
    migrate(sys.stdin.read())
