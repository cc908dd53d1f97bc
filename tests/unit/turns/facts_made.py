"""Facts for tests of the pure part, with everything that a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app.states import CallState, TurnState
from app.turns.facts import CallFacts, EntryFacts, Facts, TurnFacts

AT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def a_turn(**columns: Any) -> TurnFacts:
    row: dict[str, Any] = {
        "id": uuid4(),
        "seq": 1,
        "state": TurnState.RUNNING,
        "actor": "ada",
        "trace": "t" * 32,
        "reply": {},
        "step_count": 0,
        "open_calls": 0,
        "failed_attempts": 0,
        "worked_ms": 0,
        "command": None,
        "obey_at": None,
        "cancel_by": None,
        "retry_at": None,
        "accepted_at": AT,
        "messages": [{"text": "hello", "data": {}}],
        "files": [],
    }
    return TurnFacts(**{**row, **columns})


def a_call(**columns: Any) -> CallFacts:
    row: dict[str, Any] = {
        "id": uuid4(),
        "ordinal": 0,
        "tool_call_id": "call-1",
        "tool": "bash",
        "args": {},
        "place": "runner",
        "idempotent": False,
        "state": CallState.DONE,
        "result": "done",
        "seconds": 0.0,
    }
    return CallFacts(**{**row, **columns})


def some_facts(*turns: TurnFacts, **columns: Any) -> Facts:
    row: dict[str, Any] = {
        "thread": UUID(int=7),
        "token": 3,
        "version": 9,
        "agent": "default",
        "adapter": "local",
        "team": "",
        "key": "the-thread",
        "channel": "the-channel",
        "turns": list(turns),
        "absorbed": [],
        "calls": [],
        "entries": [],
        "asked": [],
        "context_from": 0,
        "now": AT,
    }
    return Facts(**{**row, **columns})


def an_entry(seq: int, kind: str = "response", **body: Any) -> EntryFacts:
    return EntryFacts(seq, kind, body)
