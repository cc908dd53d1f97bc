"""What may happen between, during and after the statements of a process, made to happen at each of them in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from tests.db.guards import libpq

Mode = Literal["before", "during", "lost", "answer lost"]
GATE = 4711
INTRUDER = "intruder"
"""Sessions of this application name wait at the gate before each commit."""

PAUSE = f"""
    CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('application_name') LIKE '%{INTRUDER}%' THEN
            PERFORM pg_advisory_xact_lock_shared({GATE}, hashtext(TG_TABLE_NAME));
        END IF;
        RETURN NULL;
    END $$"""

AT_THE_GATE = f"""
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {GATE} AND NOT granted"""
BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event <> 'advisory'"""


def install_gate(connection: psycopg.Connection[Any]) -> None:
    """A transaction of an intruder that wrote to a table whose gate is closed holds its locks and does not commit."""
    connection.execute(PAUSE)
    for table in ("thread", "destination", "sandbox", "approval"):
        connection.execute(
            f"CREATE CONSTRAINT TRIGGER pause AFTER INSERT OR UPDATE ON {table}"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pause()"
        )


@dataclass
class Intrusion:
    """Does `action` at the `nth` statement (from 0) of an engine: right before it, or as a transaction that was begun
    before it and is committed once it waits; or breaks the connection before or after the statement is carried out."""

    nth: int
    mode: Mode
    action: Callable[[], None]
    database_url: str
    gate: str = "thread"
    """At whose table the intruder's transaction waits before its commit."""
    seen: list[str] = field(default_factory=list)
    happened: bool = False
    problems: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def on(self, engine: Engine) -> Iterator[Intrusion]:
        listeners: list[tuple[str, Callable[..., Any]]] = [
            ("before_cursor_execute", self._before),
            ("after_cursor_execute", self._after),
            ("handle_error", self._failed),
        ]
        for name, listener in listeners:
            event.listen(engine, name, listener)
        try:
            yield self
        finally:
            for name, listener in listeners:
                event.remove(engine, name, listener)
            self._over.set()
            for thread in self._threads:
                thread.join()
        if self.problems:
            raise self.problems[0]

    def _before(self, *args: Any) -> None:
        self.seen.append(args[2])
        if len(self.seen) - 1 != self.nth or self.happened:
            return
        self.happened = True
        if self.mode == "before":
            self._go_first()
        elif self.mode == "during":
            self._begin()
        elif self.mode == "lost":
            broken = psycopg.OperationalError("the connection broke before the statement was sent")
            raise OperationalError(args[2], args[3], broken)

    def _after(self, *_: Any) -> None:
        if len(self.seen) - 1 != self.nth:
            return
        self._over.set()
        if self.mode == "answer lost":
            self.nth = -1
            raise psycopg.OperationalError("the connection broke before the answer came")

    def _failed(self, *_: Any) -> None:
        self._over.set()

    def _go_first(self) -> None:
        """To its end; or, in the midst of a transaction, as far as the locks of that let it."""
        intruder = self._start(self.action)
        with psycopg.connect(libpq(self.database_url), autocommit=True) as look:
            wait_until(lambda: not intruder.is_alive() or count(look, BLOCKED) > 0)

    def _begin(self) -> None:
        gate = psycopg.connect(libpq(self.database_url), autocommit=True)
        gate.execute(f"SELECT pg_advisory_lock({GATE}, hashtext(%s))", (self.gate,))
        intruder = self._start(self.action)
        wait_until(lambda: not intruder.is_alive() or count(gate, AT_THE_GATE) > 0 or count(gate, BLOCKED) > 0)
        self._start(lambda: self._commit_once_waited_for(gate))

    def _commit_once_waited_for(self, gate: psycopg.Connection[Any]) -> None:
        with gate:
            wait_until(lambda: self._over.is_set() or count(gate, BLOCKED) > 0)
            gate.execute("SELECT pg_advisory_unlock_all()")

    def _start(self, action: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                action()
            except BaseException as error:
                self.problems.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)
        return thread


def count(connection: psycopg.Connection[Any], statement: str) -> int:
    row = connection.execute(statement).fetchone()
    assert row
    found: int = row[0]
    return found


def keep_at(action: Callable[[], object], happened: Callable[[], Any]) -> None:
    """Do it again and again until it happened."""

    def tried() -> Any:
        action()
        return happened()

    wait_until(tried)


def wait_until(happened: Callable[[], Any], seconds: float = 30, message: str = "it did not happen") -> None:
    """Look often, fail late: the machine may be busy."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, message
        time.sleep(0.005)
