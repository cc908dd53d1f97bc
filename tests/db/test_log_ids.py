"""Each line that tells of somebody's work has the ids by which the rest of its story is found."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from app.db import Database
from app.log import configure
from tests.db.doubles import NoteAdapter, NoteRuntime, ScriptedModel, bash
from tests.db.rows import pump, value
from tests.db.stations import Runner, Worker

Make = Callable[..., Any]


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    root = logging.getLogger()
    handlers, level, written = root.handlers[:], root.level, io.StringIO()
    configure("info", "json", "test", written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def fail(*_: Any) -> None:
    raise ZeroDivisionError("by zero")


def test_of_a_delivery_a_call_and_a_step(worker: Make, runner: Make, db: Database, lines: Any) -> None:
    w: Worker = worker(model=ScriptedModel([bash()]), adapter=NoteAdapter(ZeroDivisionError("by zero")))
    r: Runner = runner(runtime=NoteRuntime(fail))
    accepted = w.say()
    pump(w, r)
    trace = value(db, "SELECT trace FROM turn")
    told = {line["event"]: line for line in lines()}
    for event in ("call_failed", "send_failed"):
        found = (told[event]["trace"], told[event]["thread"], told[event]["turn"])
        assert found == (trace, str(accepted.thread_id), str(accepted.turn_id)), event
