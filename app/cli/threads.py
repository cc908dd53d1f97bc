"""`heyfleet threads`, `heyfleet thread ID`"""

from __future__ import annotations

import json
import sys
from typing import Any
from uuid import UUID

import typer

from app.cli.context import AsJson, Limit, connected, id_of, plain, show
from app.db import Database
from app.errors import Refused

COLUMNS = ("id", "agent", "adapter", "key", "turns", "open_turns", "last_active_at")

LISTED = """
    SELECT id, agent, adapter, key, last_seq AS turns, open_turns, last_active_at
    FROM thread ORDER BY last_active_at DESC LIMIT :limit"""

SAID = """
    SELECT message.created_at, message.direction, message.actor, message.text, turn.state, turn.id AS turn
    FROM message JOIN turn ON turn.id = message.turn_id WHERE message.thread_id = :thread ORDER BY message.id"""

CALLED = """
    SELECT call.turn_id AS turn, call.created_at, call.tool, call.args, call.state, call.result
    FROM call JOIN turn ON turn.id = call.turn_id WHERE turn.thread_id = :thread
    ORDER BY call.created_at, call.ordinal"""


def threads(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """The conversations, the one that was active last first."""
    with connected(context) as core:
        rows = [row._asdict() for row in core.db.rows(LISTED, limit=limit)]
    show(rows, COLUMNS, as_json=as_json, nothing="There are no threads yet: try heyfleet chat.")


def thread(context: typer.Context, thread_id: str, as_json: AsJson = False) -> None:
    """One conversation: what was said, and the calls that were made for it."""
    with connected(context) as core:
        story = story_of(core.db, id_of(thread_id, "thread"))
    if as_json:
        sys.stdout.write(json.dumps(story, default=plain, indent=2) + "\n")
        return
    for item in story:
        when = item["created_at"].astimezone().strftime("%Y-%m-%d %H:%M:%S")
        if "tool" in item:
            sys.stdout.write(f"{when}    {item['tool']} {json.dumps(item['args'])} → {item['state']}\n")
        else:
            sys.stdout.write(f"{when}  {item['actor']}: {item['text']}\n")


def story_of(db: Database, thread: UUID) -> list[dict[str, Any]]:
    """Messages and calls of a thread in the order in which they came."""
    if not db.one("SELECT 1 FROM thread WHERE id = :thread", thread=thread):
        raise Refused(f"there is no thread {thread} (see heyfleet threads)")
    rows = [*db.rows(SAID, thread=thread), *db.rows(CALLED, thread=thread)]
    return sorted((row._asdict() for row in rows), key=lambda item: item["created_at"])
