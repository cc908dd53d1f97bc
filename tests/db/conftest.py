"""A fresh database for each test, guarded; workers and runners over doubles of the edges."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.db import Database
from app.services.postgres import EmbeddedPostgres
from tests.conftest import run, url_of
from tests.db.guards import install_guards
from tests.db.stations import Runner, Worker

GUARDED = "template_guarded"


@pytest.fixture(scope="session")
def guarded_database(postgres_server: EmbeddedPostgres, template_database: str) -> str:
    """The name of a migrated database that raises on a move between states that is not in the table."""
    run(postgres_server, f"CREATE DATABASE {GUARDED} TEMPLATE {template_database}")
    install_guards(libpq(url_of(postgres_server, GUARDED)))
    return GUARDED


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, guarded_database: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    run(postgres_server, f"CREATE DATABASE {name} TEMPLATE {guarded_database}")
    # A deadlock is found at once, not after a second.
    run(postgres_server, f"ALTER DATABASE {name} SET deadlock_timeout = '50ms'")
    try:
        yield url_of(postgres_server, name)
    finally:
        run(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


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


def libpq(url: str) -> str:
    """SQLAlchemy's URL as libpq reads it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
