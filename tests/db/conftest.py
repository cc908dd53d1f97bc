"""An empty database for each test, guarded; workers and runners over doubles of the edges."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from app.db import Database
from app.services.postgres import EmbeddedPostgres
from app.tables import Base
from tests.conftest import run, url_of
from tests.db.guards import install_guards, libpq
from tests.db.interleaving import install_gate
from tests.db.stations import Runner, Worker

OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture(scope="session")
def guarded_database(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[tuple[str, Cleaner]]:
    """The URL of a migrated database that raises on a move between states that is not in the table, and its cleaner."""
    # A name of its own: the tests of two folders each have one.
    name = f"guarded_{uuid.uuid4().hex[:8]}"
    run(postgres_server, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    # A deadlock is found at once, not after a second.
    run(postgres_server, f"ALTER DATABASE {name} SET deadlock_timeout = '50ms'")
    url = url_of(postgres_server, name)
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        install_guards(connection)
        install_gate(connection)
        yield url, Cleaner(connection)


class Cleaner:
    """Empties the database. A new one for each of so many tests would cost more time than the tests."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.tables = [*Base.metadata.tables, "move_seen"]

    def clean(self) -> None:
        """Whoever is still connected is cut off first: it might write into the next test."""
        self.connection.execute(OTHERS)
        with self.connection.transaction():
            # No trigger runs, so that rows may go in any order.
            self.connection.execute("SET LOCAL session_replication_role = replica")
            for table in self.tables:
                self.connection.execute(f"DELETE FROM {table}")


@pytest.fixture
def database_url(guarded_database: tuple[str, Cleaner]) -> Iterator[str]:
    """An empty database that no other test uses meanwhile."""
    url, cleaner = guarded_database
    yield url
    cleaner.clean()


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """The test's own connections: for looking, and for what another process does."""
    found = Database(database_url, name="test", pool_size=4)
    yield found
    found.close()


@pytest.fixture
def worker(database_url: str, redis_url: str) -> Iterator[Callable[..., Worker]]:
    """Makes workers; see `tests.db.stations.Worker` for what may be said."""
    made: list[Worker] = []

    def make(**more: Any) -> Worker:
        made.append(Worker(database_url, redis_url, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()
    assert [problem for each in made for problem in each.model.problems] == []


@pytest.fixture
def runner(database_url: str, redis_url: str) -> Iterator[Callable[..., Runner]]:
    """Makes runners; see `tests.db.stations.Runner` for what may be said."""
    made: list[Runner] = []

    def make(**more: Any) -> Runner:
        made.append(Runner(database_url, redis_url, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()
