"""Migrations: their sum is the tables, they can be taken back, and many processes may run them at once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from app.cli.services import migrate_apart
from app.db import Database
from app.errors import Permanent
from app.migrate import alembic_config, migrate
from app.revisions import current, head, missing, pending, revisions
from app.services.postgres import EmbeddedPostgres
from app.tables import Base
from tests.conftest import run, url_of
from tests.db.processes import together
from tests.db.rows import rows
from tests.db.stations import say

# What Postgres itself says of a schema; names of constraints and indexes are part of it.
COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture
def empty(postgres_server: EmbeddedPostgres) -> Iterator[Callable[[], Database]]:
    """Makes empty databases."""
    made: list[tuple[str, Database]] = []

    def make() -> Database:
        name = f"empty_{uuid.uuid4().hex}"
        run(postgres_server, f"CREATE DATABASE {name}")
        made.append((name, Database(url_of(postgres_server, name), name="test", pool_size=2)))
        return made[-1][1]

    yield make
    for name, db in made:
        db.close()
        run(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def url(db: Database) -> str:
    return db.engine.url.render_as_string(hide_password=False)


def schema(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    found = {"columns": rows(db, COLUMNS), "constraints": rows(db, CONSTRAINTS), "indexes": rows(db, INDEXES)}
    found["indexes"] = [index for index in found["indexes"] if index[0] != "alembic_version"]
    return found


def test_the_migrations_make_what_the_tables_say(empty: Callable[[], Database]) -> None:
    migrated, made = empty(), empty()
    migrate(url(migrated))
    engine = create_engine(url(made))
    Base.metadata.create_all(engine)
    engine.dispose()
    for part, rows_of_part in schema(made).items():
        assert schema(migrated)[part] == rows_of_part, part


def test_alembic_would_generate_nothing_more(empty: Callable[[], Database]) -> None:
    db = empty()
    migrate(url(db))
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_there_and_back_and_there_again(empty: Callable[[], Database]) -> None:
    db = empty()
    assert current(url(db)) is None
    assert pending(db)
    migrate(url(db))
    there = schema(db)
    assert current(url(db)) == head()
    assert not pending(db)
    command.downgrade(alembic_config(url(db)), "base")
    assert rows(db, TABLES) == [("alembic_version",)]
    assert current(url(db)) is None
    assert pending(db)
    migrate(url(db))
    assert schema(db) == there
    migrate(url(db))
    assert schema(db) == there


def test_the_migrations_are_known_as_alembic_knows_them() -> None:
    scripts = ScriptDirectory.from_config(alembic_config("")).walk_revisions()
    assert revisions() == tuple(script.revision for script in scripts)


def test_each_migration_can_be_taken_back_and_made_again(empty: Callable[[], Database]) -> None:
    db = empty()
    migrate(url(db))
    before = schema(db)
    command.downgrade(alembic_config(url(db)), "-1")
    command.upgrade(alembic_config(url(db)), "+1")
    assert schema(db) == before


def test_what_an_older_version_could_not_go_on_with_is_ended_when_a_migration_is_taken_back(
    empty: Callable[[], Database],
) -> None:
    db = empty()
    migrate(url(db))
    ordered = say(db, "bash ls", command="bash ls")
    said = say(db, "hello")
    command.downgrade(alembic_config(url(db)), "0001")
    states = dict(rows(db, "SELECT id, state FROM turn"))
    assert states == {ordered.turn_id: "cancelled", said.turn_id: "queued"}
    assert rows(db, "SELECT open_turns FROM thread") == [(1,)]


def migrate_together(barrier: Barrier, database_url: str) -> None:
    barrier.wait()
    migrate(database_url)


def test_many_processes_that_migrate_at_once(empty: Callable[[], Database]) -> None:
    db = empty()
    together(migrate_together, *[(url(db),)] * 4)
    assert current(url(db)) == head()
    assert {name for (name,) in rows(db, TABLES)} == {*Base.metadata.tables, "alembic_version"}


def test_a_database_of_a_newer_version_is_not_behind(empty: Callable[[], Database]) -> None:
    """While a new version is rolled out, the old processes go on."""
    db = empty()
    migrate(url(db))
    assert missing(url(db)) is None
    db.rows("UPDATE alembic_version SET version_num = 'newer'")
    assert not pending(db)
    db.rows("DELETE FROM alembic_version")
    assert pending(db)
    assert "heyfleet db migrate" in (missing(url(db)) or "")


def test_migrating_in_a_process_of_its_own(empty: Callable[[], Database], capfd: pytest.CaptureFixture[str]) -> None:
    db = empty()
    migrate_apart(url(db))
    assert not pending(db)
    password = db.engine.url.password
    assert password
    with pytest.raises(Permanent, match="could not be brought up to date"):
        migrate_apart(url(db).replace(password, "wrong"))
    assert "password authentication failed" in capfd.readouterr().err, "why is told"


def test_a_database_that_can_t_hold_what_people_write_is_refused(postgres_server: EmbeddedPostgres) -> None:
    name = f"ascii_{uuid.uuid4().hex}"
    run(postgres_server, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        with pytest.raises(Permanent, match="encoding is SQL_ASCII, and must be UTF8"):
            migrate(url_of(postgres_server, name))
    finally:
        run(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")
