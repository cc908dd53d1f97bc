"""The pure part of compaction: when it is due, and what the model is given to summarise."""

from __future__ import annotations

from typing import Any

from app.turns.compaction import as_text, due, shortened
from app.turns.services import Persona
from tests.unit.turns.facts_made import a_turn, an_entry, some_facts


class Window:
    name = "window"

    def __init__(self, context_window: int) -> None:
        self.context_window = context_window

    def ask(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is asked here")

    def summary(self, text: str) -> Any:
        raise AssertionError("nothing is summarised here")


def is_due(window: int, *entries: Any) -> bool:
    persona = Persona(Window(window), {}, lambda _: "")
    return due(some_facts(a_turn(), entries=list(entries)), persona, 0.5)


def test_due_once_the_share_of_the_window_is_passed() -> None:
    long = an_entry(1, parts=[{"content": "x" * 4000}])
    assert is_due(1900, long)
    assert not is_due(4000, long)
    assert not is_due(1)


def test_a_summary_is_not_summarised_by_itself() -> None:
    assert not is_due(1, an_entry(1, "summary", parts=[{"content": "x" * 4000}]))


def test_stored_messages_as_text() -> None:
    bodies: list[dict[str, Any]] = [
        {"parts": [{"part_kind": "user-prompt", "content": "hi"}]},
        {"parts": [{"part_kind": "tool-call", "tool_name": "bash", "args": {"command": "ls"}}, {"content": ["a", 1]}]},
        {"nothing": "here"},
    ]
    assert as_text(bodies) == "user-prompt: hi\ntool-call: bash({'command': 'ls'})\npart: [\"a\", 1]"


def test_the_end_of_a_long_text_is_kept() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdef", 2) == "[…]\nef"
