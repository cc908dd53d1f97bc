"""Trusted tools, run in the worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from app.errors import Refused
from app.leases import Lease
from app.ports import ToolSpec
from app.results import MOST_CHARACTERS, shortened
from app.turns.reach import Bench
from app.turns.trusted import run_calls
from tests.unit.turns.facts_made import a_call, a_turn, some_facts

NO_SERVICES: Any = None
"""None of these tools asks for the sandbox."""


class Function:
    """A trusted tool made of a function."""

    idempotent = True
    place = "worker"

    def __init__(self, function: Callable[[Any, Mapping[str, Any]], str], place: Any = "worker") -> None:
        self.spec = ToolSpec("function", "", {})
        self.function = function
        self.place = place

    def run(self, ctx: Any, args: Mapping[str, Any]) -> str:
        return self.function(ctx, args)


def results(tools: dict[str, Any], *calls: Any) -> list[tuple[str, str]]:
    lease = Lease("thread", uuid4(), 1, time.monotonic() + 60)
    turn = a_turn(actor="ada", trace="the-trace")
    bench = Bench(NO_SERVICES, lease, some_facts(turn).thread, "default", "virtual", "key")
    found = run_calls(bench, turn, calls, tools)
    assert [result["id"] for result in found] == [str(call.id) for call in calls]
    return [(result["state"], result["result"]) for result in found]


def refuse(_: Any, __: Any) -> str:
    raise Refused("not like this", detail="for the operator")


def explode(_: Any, __: Any) -> str:
    raise ZeroDivisionError("by zero")


def test_what_a_tool_returns_or_raises_is_a_result() -> None:
    tools: dict[str, Any] = {
        "good": Function(lambda _, args: f"got {args['x']}"),
        "refuses": Function(refuse),
        "explodes": Function(explode),
        "elsewhere": Function(lambda *_: "never", place="runner"),
    }
    calls = [a_call(tool=name, args={"x": 1}) for name in ("good", "refuses", "explodes", "elsewhere", "gone")]
    assert results(tools, *calls) == [
        ("done", "got 1"),
        ("failed", "not like this"),
        ("failed", "ZeroDivisionError: by zero"),
        ("failed", "The tool elsewhere is not there any more."),
        ("failed", "The tool gone is not there any more."),
    ]


def test_a_tool_is_told_who_asked_and_a_key_that_stays_the_same() -> None:
    seen: list[Any] = []

    def note(ctx: Any, _: Any) -> str:
        seen.append(ctx)
        return "ok"

    tools: dict[str, Any] = {"note": Function(note)}
    call = a_call(tool="note")
    results(tools, call)
    results(tools, call)
    assert [context.idempotency_key for context in seen] == [str(call.id)] * 2
    assert (seen[0].actor, seen[0].trace, seen[0].thread) == ("ada", "the-trace", some_facts().thread)
    assert not seen[0].cancel.is_set()


def test_several_calls_run_side_by_side() -> None:
    together = threading.Barrier(3, timeout=10)
    tools: dict[str, Any] = {"meet": Function(lambda *_: str(together.wait()))}
    found = results(tools, *(a_call(tool="meet", ordinal=n) for n in range(3)))
    assert [state for state, _ in found] == ["done"] * 3


def test_both_ends_of_a_long_result_are_kept() -> None:
    assert shortened("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
    cut = shortened("a" * MOST_CHARACTERS + "b" * MOST_CHARACTERS)
    assert cut.startswith("a" * 25_000 + "\n[… 50000 characters left out …]\nb")
    assert cut.endswith("b" * 25_000)
