"""The database: one engine a process, statements that are transactions of their own, and the compare-and-set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, TextClause, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import TookTooLong, Unavailable

T = TypeVar("T")
TOOK_TOO_LONG = {"57014", "55P03"}
"""query_canceled (by the time limit) and lock_not_available.
https://www.postgresql.org/docs/current/errcodes-appendix.html"""
DEADLOCK_OR_SERIALIZATION = {"40P01", "40001"}
REPEATS = 5

OPTIONS = " ".join(
    (
        # A statement that waits longer than a lease is of no use to anyone.
        "-c statement_timeout=15000 -c lock_timeout=10000",
        # Compiling costs more than any of our statements.
        "-c jit=off",
        # Planning costs up to five times as much as running them. All find their rows by keys, whatever the values are,
        # so one plan serves; and it must not be the one that was good while the tables were empty.
        # https://www.postgresql.org/docs/current/runtime-config-query.html#GUC-PLAN-CACHE-MODE
        "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off",
    )
)


class Database:
    """A pool of connections. Errors: Unavailable when Postgres is out of reach; SQLAlchemy's own otherwise."""

    def __init__(self, url: str, *, name: str, pool_size: int = 10, patience: float = 10.0) -> None:
        """`patience`: seconds to wait for a free connection before it is Unavailable."""
        # AUTOCOMMIT: most of our transactions are one statement, and then BEGIN and COMMIT would be two more round
        # trips. https://docs.sqlalchemy.org/en/20/core/connections.html#understanding-the-dbapi-level-autocommit
        self.engine = create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            # A connection that is closed after use has learnt every statement in vain: that doubles what Postgres does.
            max_overflow=0,
            pool_timeout=patience,
            # An error must not carry what people said into a log.
            hide_parameters=True,
            pool_use_lifo=True,  # the warm connection first: its statements are prepared already
            connect_args={
                "application_name": f"heyfleet {name}",
                "connect_timeout": 2,
                "options": OPTIONS,
                # At the second use on a connection, not the sixth: there are few statements, used again and again.
                "prepare_threshold": 1,
                "keepalives_idle": 10,
                "keepalives_interval": 3,
                "keepalives_count": 3,
            },
        )
        self._transactional = self.engine.execution_options(isolation_level="READ COMMITTED")

    def rows(self, statement: str, params: Mapping[str, Any] | None = None, **more: Any) -> list[Row[Any]]:
        """Run one statement as a transaction of its own: one round trip, one commit.

        A statement that lost a deadlock was rolled back whole, so it is run again.
        """
        values = {**(params or {}), **more}
        for attempt in range(REPEATS):
            try:
                with self._reachable(), self.engine.connect() as connection:
                    result = connection.execute(compiled(statement), values)
                    return list(result) if result.returns_rows else []
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in DEADLOCK_OR_SERIALIZATION or attempt == REPEATS - 1:
                    raise
                time.sleep(0.01 * 2**attempt)  # the other side of the deadlock commits meanwhile
        raise AssertionError("unreachable")

    def one(self, statement: str, params: Mapping[str, Any] | None = None, **more: Any) -> Row[Any] | None:
        """The first row of `rows`, or None."""
        found = self.rows(statement, params, **more)
        return found[0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Several statements that commit together."""
        with self._reachable(), self._transactional.connect() as connection, connection.begin():
            yield connection

    def carried_out(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, done in one transaction; once more from its beginning where that lost a deadlock."""
        for attempt in range(REPEATS):
            try:
                with self.transaction() as connection:
                    return work(connection)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in DEADLOCK_OR_SERIALIZATION or attempt == REPEATS - 1:
                    raise
                time.sleep(0.01 * 2**attempt)  # the other side of the deadlock commits meanwhile
        raise AssertionError("unreachable")

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise Unavailable("no database connection is free", detail=str(error)) from error
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) in DEADLOCK_OR_SERIALIZATION:
                raise
            if getattr(error.orig, "sqlstate", None) in TOOK_TOO_LONG:
                raise TookTooLong("Postgres took too long over a statement", detail=str(error.orig)) from error
            raise Unavailable("Postgres is out of reach", detail=str(error.orig)) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise Unavailable("the connection to Postgres was lost", detail=str(error.orig)) from error
            raise


@lru_cache(maxsize=256)
def compiled(statement: str) -> TextClause:
    """The statement as SQLAlchemy's text, made once.

    Without its indentation: psycopg converts statements of over 4096 bytes anew at each execution.
    https://www.psycopg.org/psycopg3/docs/advanced/prepare.html
    """
    return text(" ".join(statement.split()))


def move(
    connection: Connection,
    table: str,
    row_id: Any,
    moves: Mapping[Any, frozenset[Any]],
    to: StrEnum,
    **columns: Any,
) -> StrEnum | None:
    """Move one row to a state, from any state that may go there, and set `columns` with it.

    One UPDATE that names the old states. Returns the new state, or None when somebody else was first (or there is no
    such row): then nothing was changed.
    """
    sources = [state.value for state, targets in moves.items() if to in targets]
    sets = "".join(f", {name} = :{name}" for name in columns)
    found = connection.execute(
        compiled(f"UPDATE {table} SET state = :to{sets} WHERE id = :row_id AND state = ANY(:sources) RETURNING id"),
        {"row_id": row_id, "to": to.value, "sources": sources, **columns},
    ).first()
    return to if found else None
