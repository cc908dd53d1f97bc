"""`heyfleet services`: the embedded Postgres and Redis, for as long as the other processes run."""

from __future__ import annotations

import fcntl
import http
import http.client
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import structlog

from app.cli.banner import banner
from app.config.load import load
from app.config.settings import Settings
from app.errors import Cancelled, HeyfleetError, Permanent
from app.log import configure, redact
from app.services.addresses import EMBEDDED, Recorded, Server, record, recorded, wait_for
from app.services.place import servers_folder
from app.services.postgres import EmbeddedPostgres
from app.services.private import private_folder
from app.services.redis import EmbeddedRedis
from app.services.stop import Stop, stop_signals
from app.starting import exit_code

log = structlog.get_logger()

TICK_SECONDS = 0.25
WEB_SECONDS = 60.0
# honcho kills five seconds after it asked: https://github.com/nickstenning/honcho (KILL_WAIT in manager.py)
LET_GO_SECONDS = 3.0
STOP_SECONDS = 1.5
LONGEST_PAUSE_SECONDS = 30.0

Embedded = EmbeddedPostgres | EmbeddedRedis


def services(settings: Settings, migrate: Callable[[str], None], banner: Callable[[], str]) -> None:
    """Start what is embedded, migrate, print the banner when the web answers, stay until SIGTERM or SIGINT.

    `migrate` gets the database's URL. Raises Permanent where a server does not start or another `services` runs on
    this `state_dir`, Unavailable where a configured server is not there within a minute.
    """
    with stop_signals() as stop:
        if EMBEDDED not in (settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()):
            migrate_when_there(settings, migrate, stop)
            stay(settings, {}, banner, stop)
            return
        with only_one(settings):
            servers = embedded(settings)
            try:
                start(settings, servers, migrate, stop)
                stay(settings, servers, banner, stop)
            finally:
                shut_down(settings, servers, stop)


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """A lock on the `state_dir`, which the kernel lets go of however we end."""
    private_folder(settings.state_dir)
    path = settings.state_dir / "services.lock"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Permanent(
                f"the services of {settings.state_dir} run already (process {file.read().strip() or 'unknown'}): "
                "stop them first, or set another state_dir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def embedded(settings: Settings) -> dict[Server, Embedded]:
    """The servers to run, on the ports that they had before."""
    folder = servers_folder(settings.state_dir)
    ports = {name: server["port"] for name, server in recorded(settings.state_dir).items()}
    servers: dict[Server, Embedded] = {}
    if settings.database_url.get_secret_value() == EMBEDDED:
        servers["postgres"] = EmbeddedPostgres(folder / "postgres", ports.get("postgres"))
    if settings.redis_url.get_secret_value() == EMBEDDED:
        servers["redis"] = EmbeddedRedis(folder / "redis", ports.get("redis"))
    return servers


def start(settings: Settings, servers: Mapping[Server, Embedded], migrate: Callable[[str], None], stop: Stop) -> None:
    """Start the servers and migrate; the others are told the addresses only when the tables are right."""
    publish(settings, servers, ready=False)
    for server in servers.values():
        began = time.monotonic()
        server.start()
        redact(server.password)
        log.info("server_started", server=server.name, port=server.port, seconds=round(time.monotonic() - began, 2))
        if stop.asked:
            return
    if "postgres" in servers:
        migrate(servers["postgres"].url)
        publish(settings, servers, ready=True)
    else:
        publish(settings, servers, ready=True)
        migrate_when_there(settings, migrate, stop)


def migrate_when_there(settings: Settings, migrate: Callable[[str], None], stop: Stop) -> None:
    """Migrate a database that is not ours to start."""
    try:
        addresses = wait_for(settings, stop=lambda: stop.asked)
    except Cancelled:
        return  # `stay` sees it as well
    migrate(addresses.database_url)


def publish(settings: Settings, servers: Mapping[Server, Embedded], *, ready: bool) -> None:
    found = {name: Recorded(port=server.port, url=server.url if ready else None) for name, server in servers.items()}
    record(settings.state_dir, {**recorded(settings.state_dir), **found})


def stay(settings: Settings, servers: Mapping[Server, Embedded], banner: Callable[[], str], stop: Stop) -> None:
    """Until told to stop: bring back servers that died, and print the banner once the web answers."""
    watched = [Watched(server) for server in servers.values()]
    web = Web(settings)
    while not stop.wait(TICK_SECONDS):
        revived = [server for server in watched if server.revive()]
        if revived:
            publish(settings, servers, ready=True)
        if web.came_up():
            sys.stdout.write(banner() + "\n")
            sys.stdout.flush()


class Watched:
    """A server that is started again when it dies, with pauses that grow while it keeps dying."""

    def __init__(self, server: Embedded) -> None:
        self._server = server
        self._pause = 0.0
        self._last_try = -math.inf

    def revive(self) -> bool:
        """True where it was dead and runs again."""
        if self._server.alive():
            return False
        since = time.monotonic() - self._last_try
        if since < self._pause:
            return False
        self._pause = 0.5 if since > 2 * LONGEST_PAUSE_SECONDS else min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        self._last_try = time.monotonic()
        how = self._server.ended()
        try:
            self._server.start()
        except HeyfleetError as error:
            log.error("server_not_restarted", server=self._server.name, error=error.message, detail=error.detail)
            return False
        log.warning("server_restarted", server=self._server.name, died=how)
        return True


class Web:
    """The first time that the web is ready is when a person can begin."""

    def __init__(self, settings: Settings) -> None:
        where = settings.http
        # A server that listens everywhere also does so here.
        self._host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where.host, where.host)  # noqa: S104 (nothing is bound)
        self._port = where.port
        self._warn_at = time.monotonic() + WEB_SECONDS
        self._next_look = 0.0
        self._was_up = False

    def came_up(self) -> bool:
        """True once: when `/ready` answers 200, or at once where the port is not known (0)."""
        now = time.monotonic()
        if self._was_up or now < self._next_look:
            return False
        problem = self._problem() if self._port else None
        self._was_up = problem is None
        if problem and now >= self._warn_at:
            log.warning("web_is_not_ready", after_seconds=WEB_SECONDS, why=problem)
            self._warn_at = math.inf
        # It may be started later by hand, but a second process asking four times a second for ever is a nuisance.
        self._next_look = now + (2.0 if self._warn_at == math.inf else 0.0)
        return self._was_up

    def _problem(self) -> str | None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=1)
        try:
            connection.request("GET", "/ready")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"http://{self._host}:{self._port}/ready does not answer ({error})"
        finally:
            connection.close()
        return None if status == http.HTTPStatus.OK else f"/ready answers {status}"


def shut_down(settings: Settings, servers: Mapping[Server, Embedded], stop: Stop) -> None:
    """Stop the servers once the other processes have let go of them, or have had the time to."""
    until = time.monotonic() + LET_GO_SECONDS
    while (left := sum(server.clients() for server in servers.values())) and not stop.hurry:
        if time.monotonic() >= until:
            log.warning("stopping_under_clients", connections=left)
            break
        time.sleep(0.05)  # the servers don't tell when a client goes; LET_GO_SECONDS ends it
    with ThreadPoolExecutor(max_workers=len(servers)) as pool:
        for _ in pool.map(lambda server: server.stop(STOP_SECONDS), servers.values()):
            pass
    publish(settings, servers, ready=False)
    log.info("servers_stopped", servers=[server.name for server in servers.values()])


def migrate_apart(url: str) -> None:
    """Migrate in a process of its own: what it takes is not kept for as long as the servers run. Raises Permanent."""
    done = subprocess.run([sys.executable, "-m", "app.migrate"], input=url, text=True, check=False)
    if done.returncode:
        raise Permanent(f"the database could not be brought up to date (exit code {done.returncode}); why is above")


def run() -> None:
    """`python -m app.cli.services` (a line of the Procfile): as `heyfleet services`, without all other verbs, which
    take as much memory again."""
    settings = load().settings
    configure(settings.log.level, settings.log.format, "services")
    services(settings, migrate_apart, lambda: banner(settings))


if __name__ == "__main__":
    sys.exit(exit_code("services", run))
