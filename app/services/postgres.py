"""The embedded Postgres: 127.0.0.1 only, with a password, as durable as any other."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg
import structlog
from psycopg.rows import TupleRow

from app.errors import Permanent
from app.services.account import Account, account_for
from app.services.private import kept_password, private_folder
from app.services.process import (
    POLL_SECONDS,
    ServerProcess,
    exists,
    free_port,
    is_free,
    is_running,
    last_lines,
    spawn,
    wait_until,
)
from app.services.programs import PostgresPrograms, postgres_programs

log = structlog.get_logger()

USER = "heyfleet"
DATABASE = "heyfleet"
START_SECONDS = 60.0
# Small, and nothing that weakens durability. https://www.postgresql.org/docs/18/runtime-config.html
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    # Four processes fewer, which pay off on slower disks with larger tables, and with replicas.
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # A failed statement is the caller's to log: its text may hold what people said.
    "log_min_error_statement": "panic",
}


class EmbeddedPostgres:
    """A Postgres server of our own, its data in the folder `data`.

    `port` None: a free one; read `port` after `start()`. `extra_settings` are Postgres's own, by name.
    As root it runs as another user (`account_for`), who must be able to enter the folder that `data` is in.
    """

    name = "Postgres"

    def __init__(self, data: Path, port: int | None = None, extra_settings: Mapping[str, str] | None = None) -> None:
        # Its own idea of the path has no links in it.
        self.data = data.parent.resolve() / data.name
        self.port = port
        self.settings = {**SETTINGS, **(extra_settings or {})}
        self.password = ""
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """Where the database is, for SQLAlchemy; known once it was started."""
        return f"postgresql+psycopg://{USER}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        """Start it, or take over the one that runs on this data already. Raises Permanent where it does not start."""
        if self.alive():
            return
        account = account_for(self.data)
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if account and not account.can_enter(self.data.parent):
            raise Permanent(f"{account.name}, as whom root runs Postgres, can't enter {self.data.parent}")
        self.password = kept_password(beside(self.data, "password"), account)
        self._process = self._adopted() or self._started(account)

    def stop(self, seconds: float = 10.0) -> None:
        """Stop it, most of `seconds` the fast way (sessions are cut off, all is written), then the immediate way."""
        if self._process:
            # https://www.postgresql.org/docs/18/server-shutdown.html
            self._process.stop([(signal.SIGINT, seconds * 2 / 3), (signal.SIGQUIT, seconds / 3)])
        self._process = None

    def alive(self) -> bool:
        return self._process is not None and self._process.alive()

    def ended(self) -> str:
        """How it ended, where it did so on its own."""
        return self._process.ended() if self._process else "not started"

    def clients(self) -> int:
        """How many connections heyfleet's processes hold."""
        statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'heyfleet%'"
        try:
            with self._connect(DATABASE) as connection:
                found = connection.execute(statement).fetchone()
        except psycopg.OperationalError:
            return 0  # who is not there has no clients
        return int(found[0]) if found else 0

    def _adopted(self) -> ServerProcess | None:
        """The server that runs on our data, ready; None where there is none any more."""
        found = read_pid_file(self.data)
        # As `_started` begins it; a number alone may have gone to another program since.
        mark = f"-D {self.data} "
        if found is None:
            return None
        pid, port = found
        if not is_running(pid, mark):
            if exists(pid):
                # Another program got the number since, and Postgres would take it for a server on this data.
                (self.data / "postmaster.pid").unlink(missing_ok=True)
            return None
        server = ServerProcess(pid, mark)
        self.port = port
        self._wait_until_ready(server)
        if not server.alive():
            return None
        log.info("postgres_adopted", pid=pid, port=port)
        return server

    def _started(self, account: Account | None) -> ServerProcess:
        programs = postgres_programs(account)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(programs, account)
        if self.port is None or not is_free(self.port):
            if self.port is not None:
                log.warning("port_is_taken", server="postgres", port=self.port)
            self.port = free_port()
        argv = [str(programs.postgres), "-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        for name, value in self.settings.items():
            argv += ["-c", f"{name}={value}"]
        server = spawn(
            argv,
            account=account,
            log=beside(self.data, "log"),
            death_signal=signal.SIGINT,
            mark=f"-D {self.data} ",
        )
        try:
            self._wait_until_ready(server)
            if not server.alive():
                raise self._failed(f"Postgres did not start ({server.ended()})")
            self._make_database()
        except BaseException:
            server.stop([(signal.SIGINT, 5.0), (signal.SIGQUIT, 5.0)])
            raise
        return server

    def _initialise(self, programs: PostgresPrograms, account: Account | None) -> None:
        """Make the data beside its place and move it there: what a kill leaves behind is made anew."""
        draft = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        private_folder(draft, account)
        argv = [str(programs.initdb), "-D", str(draft), "--username", USER, "--encoding", "UTF8", "--locale", "C"]
        argv += ["--auth", "scram-sha-256", "--pwfile", str(beside(self.data, "password")), "--no-instructions"]
        if self.settings.get("fsync") == "off":
            argv.append("--no-sync")
        made = spawn(
            argv, account=account, log=beside(self.data, "log"), death_signal=signal.SIGTERM, mark=f"-D {draft} "
        )
        wait_until(lambda: not made.alive(), START_SECONDS)
        if not made.succeeded():
            made.stop([(signal.SIGTERM, 5.0)])
            raise self._failed(f"initdb failed ({made.ended()})")
        os.rename(draft, self.data)

    def _wait_until_ready(self, server: ServerProcess) -> None:
        """Until it answers or is gone. Raises Permanent where it refuses us, or is neither after a minute."""
        until = time.monotonic() + START_SECONDS
        while server.alive():
            try:
                with self._connect("postgres") as connection:
                    found = connection.execute("SHOW data_directory").fetchone()
            except psycopg.OperationalError as error:
                # No answer yet, or starting up, recovering, shutting down: those pass. A refused password does not.
                if "password authentication failed" in str(error):
                    raise Permanent(
                        f"Postgres on {self.data} refuses the password in {beside(self.data, 'password')}"
                    ) from None
                if time.monotonic() >= until:
                    raise self._failed(f"Postgres did not answer within {START_SECONDS:.0f} s") from None
                time.sleep(POLL_SECONDS)  # it tells nobody that it is ready; START_SECONDS end it
                continue
            if found and Path(found[0]) == self.data:
                return
            raise Permanent(f"port {self.port} belongs to another Postgres, with its data in {found and found[0]}")

    def _make_database(self) -> None:
        with self._connect("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _connect(self, database: str) -> psycopg.Connection[TupleRow]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=self.password,
            dbname=database,
            sslmode="disable",
            connect_timeout=2,
            autocommit=True,
            application_name="services",
        )

    def _failed(self, what: str) -> Permanent:
        path = beside(self.data, "log")
        return Permanent(f"{what}; its log is {path}", detail=last_lines(path))


def beside(data: Path, kind: str) -> Path:
    """`postgres.password`, `postgres.log`: what belongs to the data and is not in its folder."""
    return data.with_name(f"{data.name}.{kind}")


def read_pid_file(data: Path) -> tuple[int, int] | None:
    """Process id and port of the server that says it runs on `data`; None where none does.

    Lines 1 and 4. https://www.postgresql.org/docs/18/storage-file-layout.html
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), int(lines[3])
    except FileNotFoundError:
        return None
    except (IndexError, ValueError):
        return None  # half written by one that was killed; Postgres looks at it itself
