"""Bringing a database up to this version's tables."""

from __future__ import annotations

import sys
from importlib.resources import files

import psycopg
from alembic import command
from alembic.config import Config

from app.errors import Permanent, Unavailable


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    # Alembic's config is an ini file: a % in a password would be taken for interpolation.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def refuse_other_encodings(url: str) -> None:
    """What people write is in Unicode. Raises Permanent for a database that can't hold it, and Unavailable."""
    try:
        with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1), connect_timeout=5) as connection:
            encoding = connection.info.parameter_status("server_encoding")
    except psycopg.OperationalError as error:
        raise Unavailable("Postgres is out of reach", detail=str(error)) from error
    if encoding != "UTF8":
        raise Permanent(
            f"the database's encoding is {encoding}, and must be UTF8: make it anew with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def migrate(url: str) -> None:
    """Apply every pending migration. Safe to run from many processes at once."""
    refuse_other_encodings(url)
    command.upgrade(alembic_config(url), "head")


def create_revision(url: str, message: str) -> None:
    """Write a new migration from the difference between the tables and the database at `url`."""
    command.revision(alembic_config(url), message, autogenerate=True)


if __name__ == "__main__":
    # The URL has a password, which neither a command line nor an environment should show.
    migrate(sys.stdin.read())
