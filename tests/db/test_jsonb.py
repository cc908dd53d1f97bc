"""Postgres takes whatever is dumped, and gives it back as it was, less what no Postgres can store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from app.jsonb import dumps, storable
from tests.db.guards import libpq
from tests.unit.json_values import any_json, any_text

# The connection is the same for every example; each leaves nothing behind.
every_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(libpq(database_url), autocommit=True) as found:
        yield found


def stored(connection: psycopg.Connection[Any], value: str, kind: str) -> Any:
    row = connection.execute(f"SELECT CAST(%s AS {kind})", (value,)).fetchone()
    assert row
    return row[0]


@every_example
@given(any_json)
def test_postgres_takes_every_value(connection: psycopg.Connection[Any], value: Any) -> None:
    encoded = dumps(value)
    assert alike(stored(connection, encoded, "jsonb"), json.loads(encoded))


def alike(stored: Any, given: Any) -> bool:
    """Equal, but that a number has no type: 1e16 comes back as a whole number of as many digits."""
    if isinstance(given, float):
        return bool(stored == pytest.approx(given, rel=1e-12))
    if isinstance(given, list):
        return len(stored) == len(given) and all(map(alike, stored, given))
    if isinstance(given, dict):
        return stored.keys() == given.keys() and all(alike(stored[key], given[key]) for key in given)
    return bool(stored == given)


@every_example
@given(any_text)
def test_postgres_takes_every_text(connection: psycopg.Connection[Any], text: str) -> None:
    assert stored(connection, storable(text), "text") == storable(text)


@pytest.mark.parametrize("refused", ['"\\u0000"', '"\\ud83d"', "NaN", "Infinity"])
def test_postgres_refuses_what_is_taken_out(connection: psycopg.Connection[Any], refused: str) -> None:
    """Else the above would say nothing."""
    with pytest.raises(psycopg.DataError):
        stored(connection, refused, "jsonb")
