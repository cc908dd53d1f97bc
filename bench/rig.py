"""What a benchmark stands on: Postgres and Redis of its own, a model server, and fleets of real processes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis
from sqlalchemy import make_url

from app.migrate import migrate
from app.services.postgres import EmbeddedPostgres
from app.services.redis import EmbeddedRedis
from bench.load import Load, run
from bench.load import closed as closed_load
from bench.load import steady as steady_load
from bench.processes import cpu_seconds, tree
from tests.e2e.fleet import SECRET, Fleet
from tests.fakes.openai import FakeOpenAI

WARM_UP_TURNS = 200
AS_SHIPPED: dict[str, Any] = {"lease": {}, "drain": "30s"}
"""Over the fleet's defaults for tests, which are quicker than those of the product."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards, and that the database's user may enter."""
    with tempfile.TemporaryDirectory(prefix="heyfleet-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@dataclass
class Servers:
    """An embedded Postgres and Redis that can be stopped and started again."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis

    @property
    def postgres_pid(self) -> int:
        """The first line. https://www.postgresql.org/docs/18/storage-file-layout.html"""
        return int((self.postgres.data / "postmaster.pid").read_text().splitlines()[0])

    @property
    def redis_pid(self) -> int:
        with redis.Redis.from_url(self.redis.url) as client:
            found: int = client.info("server")["process_id"]
            return found

    def database(self, name: str) -> str:
        """A new database with heyfleet's tables; its URL."""
        whole = make_url(self.postgres.url)
        at = f"host={whole.host} port={whole.port} user={whole.username} password={whole.password}"
        with psycopg.connect(f"{at} dbname={whole.database}", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        url = whole.set(database=name).render_as_string(hide_password=False)
        migrate(url)
        return url


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Both, started from this thread: they end when it does."""
    both = Servers(EmbeddedPostgres(folder / "postgres"), EmbeddedRedis(folder / "redis"))
    try:
        both.postgres.start()
        both.redis.start()
        yield both
    finally:
        both.redis.stop()
        both.postgres.stop()


@dataclass
class Rig:
    """The parts that the benchmarks of one run share."""

    folder: Path
    servers: Servers
    model: FakeOpenAI
    quick: bool = False
    workers: int = 2
    problems: list[str] = field(default_factory=list)
    """What no benchmark may find: turns lost, doubled or failed."""
    made: int = 0

    @contextmanager
    def fleet(self, *, threads: int = 200, runner: int = 1, **config: Any) -> Iterator[Running]:
        """A warmed-up fleet with a database of its own, of one web, the run's workers and `runner` runners."""
        self.made += 1
        whole = {
            **AS_SHIPPED,
            "models": {"fake": {"model": "openai/fake", "base_url": self.model.base_url, "api_key": "none"}},
            "agents": {"default": {"model": "fake"}},
            "worker": {"threads": threads},
            "webhook": {"max_in_flight": 10_000},
            **config,
        }
        name = f"bench-{self.made}"
        fleet = Fleet(self.folder / name, self.servers.database(name), self.servers.redis.url, config=whole)
        try:
            fleet.up(web=1, worker=self.workers, runner=runner)
            running = Running(self, fleet)
            running.closed("hello", 50 if self.quick else WARM_UP_TURNS, 20)
            yield running
        finally:
            fleet.close()


@dataclass
class Running:
    """A fleet under load."""

    rig: Rig
    fleet: Fleet
    sent: int = 0
    """Turns that were asked for so far."""

    def closed(self, text: str, turns: int, at_once: int, *, patience: float = 60) -> Load:
        """See `bench.load.closed`; checked against the database."""
        return self._checked(
            run(self.ports, SECRET, lambda at: closed_load(at, text, turns, at_once, patience=patience))
        )

    def steady(self, text: str, turns: int, per_second: float) -> Load:
        """See `bench.load.steady`; checked against the database."""
        return self._checked(run(self.ports, SECRET, lambda at: steady_load(at, text, turns, per_second)))

    @property
    def ports(self) -> list[int]:
        return [web.port for web in self.fleet.of("web")]

    def pids(self, kind: str) -> list[int]:
        """The processes of a kind, with their children; `postgres`, `redis` and `model` too."""
        return [pid for root in self.roots(kind) for pid in tree(root)]

    def roots(self, kind: str) -> list[int]:
        match kind:
            case "postgres":
                return [self.rig.servers.postgres_pid]
            case "redis":
                return [self.rig.servers.redis_pid]
            case _:
                return [process.popen.pid for process in self.fleet.of(kind)]

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by kind of process."""
        return {kind: cpu_seconds(self.roots(kind)) for kind in ("web", "worker", "runner", "postgres", "redis")}

    def _checked(self, load: Load) -> Load:
        """Every turn is finished well and there is exactly one for each post, by the load and by the database."""
        self.sent += load.turns
        if load.bad:
            self.rig.problems.append(f"of {load.turns} turns: {load.bad}")
        states = dict(self.fleet.sql("SELECT state, count(*) FROM turn GROUP BY state"))
        if states != {"done": self.sent}:
            self.rig.problems.append(f"{self.sent} turns were asked for; the database has {states}")
            self.sent = sum(states.values())
        return load
