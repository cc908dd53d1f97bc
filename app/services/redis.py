"""The embedded Redis (it is Valkey): 127.0.0.1 only, with a password, appending all it is told to a file."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from app.errors import Permanent
from app.services.account import Account, account_for
from app.services.private import kept_password, private_folder, read_own, write_private
from app.services.process import (
    ServerProcess,
    free_port,
    is_free,
    is_running,
    last_lines,
    spawn,
    wait_until,
)
from app.services.programs import valkey_program

log = structlog.get_logger()

START_SECONDS = 60.0
# https://valkey.io/topics/valkey.conf/
SETTINGS = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "everysec",
    # The appended file has everything; snapshots beside it would be written for nothing.
    "save": '""',
    # Leases and queues must not be thrown away to make room.
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    # Its command line is how it is known again.
    "set-proc-title": "no",
    "tcp-backlog": "128",
}


class EmbeddedRedis:
    """A Redis server of our own, its data in the folder `data`. Port and user as for Postgres."""

    name = "Redis"

    def __init__(self, data: Path, port: int | None = None, extra_settings: Mapping[str, str] | None = None) -> None:
        self.data = data.parent.resolve() / data.name
        self.port = port
        self.settings = {**SETTINGS, **(extra_settings or {})}
        self.password = ""
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """Where it is, for redis-py and Celery; known once it was started."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, or take over the one that runs on this data already. Raises Permanent where it does not start."""
        if self.alive():
            return
        account = account_for(self.data)
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if account and not account.can_enter(self.data.parent):
            raise Permanent(f"{account.name}, as whom root runs Redis, can't enter {self.data.parent}")
        private_folder(self.data, account)
        self.password = kept_password(self.data.with_name(f"{self.data.name}.password"), account)
        self._process = self._adopted() or self._started(account)

    def stop(self, seconds: float = 10.0) -> None:
        """Stop it: it writes what it has not written yet, and goes."""
        if self._process:
            self._process.stop([(signal.SIGTERM, seconds)])
        self._process = None

    def alive(self) -> bool:
        return self._process is not None and self._process.alive()

    def ended(self) -> str:
        """How it ended, where it did so on its own."""
        return self._process.ended() if self._process else "not started"

    def clients(self) -> int:
        """How many connections others hold."""
        try:
            with self._connect() as client:
                return int(client.info("clients")["connected_clients"]) - 1
        except RedisError:
            return 0  # who is not there has no clients

    @property
    def _config(self) -> Path:
        return self.data / "valkey.conf"

    @property
    def _pid_file(self) -> Path:
        return self.data / "valkey.pid"

    @property
    def _log(self) -> Path:
        return self.data.with_name(f"{self.data.name}.log")

    @property
    def _mark(self) -> str:
        return f" {self._config}"

    def _adopted(self) -> ServerProcess | None:
        """The server that runs on our data, ready; None where there is none any more."""
        pid = self._read_pid()
        if pid is None or not is_running(pid, self._mark):
            return None
        server = ServerProcess(pid, self._mark)
        # Its config file is the one it was started with, so that names its port.
        lines = [line.split() for line in read_own(self._config).splitlines()]
        self.port = next(int(words[1]) for words in lines if words[:1] == ["port"])
        self._wait_until_ready(server)
        if not server.alive():
            return None
        log.info("redis_adopted", pid=pid, port=self.port)
        return server

    def _read_pid(self) -> int | None:
        try:
            return int(read_own(self._pid_file))
        except FileNotFoundError:
            return None
        except ValueError:
            return None  # half written by one that was killed

    def _started(self, account: Account | None) -> ServerProcess:
        program = valkey_program(account)
        if self.port is None or not is_free(self.port):
            if self.port is not None:
                log.warning("port_is_taken", server="redis", port=self.port)
            self.port = free_port()
        # A file, and not the command line, which every user of the machine can see.
        write_private(self._config, self._config_text(), account)
        server = spawn(
            [str(program), str(self._config)],
            account=account,
            log=self._log,
            death_signal=signal.SIGTERM,
            mark=self._mark,
        )
        try:
            self._wait_until_ready(server)
            if not server.alive():
                raise self._failed(f"Redis did not start ({server.ended()})")
        except BaseException:
            server.stop([(signal.SIGTERM, 5.0)])
            raise
        return server

    def _config_text(self) -> str:
        own = {
            "port": str(self.port),
            "requirepass": self.password,
            "dir": quoted(self.data),
            "pidfile": quoted(self._pid_file),
        }
        return "".join(f"{name} {value}\n" for name, value in {**self.settings, **own}.items())

    def _wait_until_ready(self, server: ServerProcess) -> None:
        """Until it answers or is gone. Raises Permanent where another one answers, or none does within a minute."""

        def answers() -> bool:
            try:
                with self._connect() as client:
                    found = client.info("server")["process_id"]
            except AuthenticationError:
                raise Permanent(f"port {self.port} belongs to another Redis, which refuses our password") from None
            except RedisError:
                return not server.alive()  # not yet, or still loading its file
            if found != server.pid:
                raise Permanent(f"port {self.port} belongs to another Redis, process {found}")
            return True

        if not wait_until(answers, START_SECONDS):
            raise self._failed(f"Redis did not answer within {START_SECONDS:.0f} s")

    def _connect(self) -> redis.Redis:
        return redis.Redis(
            port=self.port or 0,
            password=self.password,
            socket_connect_timeout=2,
            socket_timeout=2,
            retry=Retry(NoBackoff(), 0),  # it retries for seconds by default
        )

    def _failed(self, what: str) -> Permanent:
        return Permanent(f"{what}; its log is {self._log}", detail=last_lines(self._log))


def quoted(path: Path) -> str:
    """A path as a word of Valkey's config file."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
