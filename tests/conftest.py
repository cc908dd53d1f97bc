"""Real servers for the tests: one Postgres and one Redis for each xdist worker, a fresh database for each test."""

from __future__ import annotations

import ctypes
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings

from app.migrate import migrate
from app.services.postgres import EmbeddedPostgres
from app.services.process import PR_SET_PDEATHSIG
from app.services.redis import EmbeddedRedis

# What a test's data loses in a power cut is not missed. Nothing else may weaken durability.
FAST_POSTGRES = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
FAST_REDIS = {"appendonly": "no"}
TEMPLATE = "template_heyfleet"

# How long an example takes depends on the machine: nothing to fail for. The same examples each time, so that
# a red run can be repeated.
settings.register_profile("heyfleet", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heyfleet")


def pytest_configure(config: pytest.Config) -> None:
    """An xdist worker ends when the pytest that started it is killed, and its servers end with it."""
    if hasattr(config, "workerinput") and sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """As root, Postgres runs as another user, who can't enter pytest's own temporary folders."""
    folder = Path(tempfile.mkdtemp(prefix="heyfleet-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server(servers_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A running Postgres; it dies with this process, however that ends."""
    server = EmbeddedPostgres(servers_folder / "postgres", None, FAST_POSTGRES)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(servers_folder: Path) -> Iterator[EmbeddedRedis]:
    """A running Redis; it dies with this process, however that ends."""
    server = EmbeddedRedis(servers_folder / "redis", None, FAST_REDIS)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def migrate_template() -> Callable[[str], None]:
    """What is done once to the database of which each test's is a copy; gets its URL."""
    return migrate


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedPostgres, migrate_template: Callable[[str], None]) -> str:
    """The name of the migrated database."""
    run(postgres_server, f"CREATE DATABASE {TEMPLATE}")
    migrate_template(url_of(postgres_server, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """A fresh migrated database of the test's own, for SQLAlchemy."""
    name = f"test_{uuid.uuid4().hex}"
    run(postgres_server, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    try:
        yield url_of(postgres_server, name)
    finally:
        run(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """An empty Redis that no other test uses meanwhile."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


def url_of(server: EmbeddedPostgres, database: str) -> str:
    return f"{server.url.rpartition('/')[0]}/{database}"


def run(server: EmbeddedPostgres, statement: str) -> None:
    url = url_of(server, "postgres").replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
