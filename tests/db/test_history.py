"""The `history` tool: what was said in this thread, and in no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from app.db import Database
from app.tools.history import MOST, SHOWN_CHARACTERS, History
from tests.db.stations import Worker

Make = Callable[..., Any]


@dataclass
class Ctx:
    thread: UUID


@pytest.fixture
def thread(worker: Make) -> UUID:
    w: Worker = worker(task={"busy": "follow_up"})
    for text in ("apples", "Pears and Apples", "100% sure_", "x" * 3000):
        accepted = w.say(text)
        w.advance(accepted.thread_id)
    w.say("apples of another", thread="u")
    found: UUID = accepted.thread_id
    return found


def found(db: Database, thread: UUID, **args: Any) -> list[str]:
    return [line.split("] ", 1)[-1] for line in History(db).run(Ctx(thread), args).splitlines()]


def test_words_are_looked_for_in_both_directions_whatever_their_case(db: Database, thread: UUID) -> None:
    assert found(db, thread, query="APPLES") == [
        "ada: apples",
        "default: re: apples",
        "ada: Pears and Apples",
        "default: re: Pears and Apples",
    ]


@pytest.mark.parametrize("query", ["%", "_"])
def test_nothing_in_a_query_is_a_pattern(db: Database, thread: UUID, query: str) -> None:
    assert found(db, thread, query=query) == ["ada: 100% sure_", "default: re: 100% sure_"]


def test_nothing_found(db: Database, thread: UUID) -> None:
    assert found(db, thread, query="bananas") == ["Nothing was found."]


@pytest.mark.parametrize(("limit", "lines"), [(1, 1), (3, 3), (0, 8), (-1, 8), ("many", 8), (10**9, 8), (None, 8)])
def test_the_latest_come_oldest_first(db: Database, thread: UUID, limit: Any, lines: int) -> None:
    assert len(found(db, thread, query="", limit=limit)) == lines
    assert found(db, thread, query="apples", limit=1) == ["default: re: Pears and Apples"]
    assert lines <= MOST


def test_long_messages_are_cut(db: Database, thread: UUID) -> None:
    assert len(found(db, thread, query="xxx", limit=1)[0]) == len("default: ") + SHOWN_CHARACTERS
