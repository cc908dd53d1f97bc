"""Alembic's environment: the URL comes from the caller (`heyfleet db migrate`), never from a file."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, text

from app.tables import Base

# Two starting processes migrate one after the other; the second finds nothing to do.
LOCK = 0x68657966  # "heyf"


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        connection.commit()
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
        connection.commit()
    engine.dispose()


run()
