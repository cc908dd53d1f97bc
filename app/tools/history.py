"""The `history` tool: what was said in a thread, from the stored messages and not from the model's context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.db import Database
from app.jsonb import storable
from app.results import Verdict
from app.tools.builtin import HISTORY, BuiltinTool

MOST = 50
SHOWN_CHARACTERS = 2000

# Control commands and what came of them are not for the model.
SEARCH = """
    SELECT created_at, actor, left(text, :shown) AS text FROM (
        SELECT id, created_at, actor, text FROM message
        WHERE thread_id = :thread AND position(lower(:query) IN lower(text)) > 0
            AND NOT EXISTS (SELECT 1 FROM turn WHERE turn.id = message.turn_id AND turn.command IS NOT NULL)
        UNION ALL
        SELECT call.id, call.created_at, call.tool, call.args::text || ' returned ' || coalesce(call.result, '')
        FROM call JOIN turn ON turn.id = call.turn_id
        WHERE turn.thread_id = :thread AND call.tool <> 'history' AND call.parent_id IS NULL AND turn.command IS NULL
            AND position(lower(:query) IN lower(call.args::text || ' ' || coalesce(call.result, ''))) > 0
        ORDER BY created_at DESC, id DESC LIMIT :most) AS found
    ORDER BY created_at, id"""


class History:
    """See `app.ports.WorkerTool`; `ctx.thread` says whose history."""

    spec = HISTORY.spec
    idempotent = HISTORY.idempotent
    place = HISTORY.place

    def __init__(self, db: Database, tool: BuiltinTool = HISTORY) -> None:
        self.db = db
        self.judged_as = tool

    def judge(self, args: Mapping[str, Any]) -> Verdict:
        return self.judged_as.judge(args)

    def run(self, ctx: Any, args: Mapping[str, Any]) -> str:
        """The latest messages that contain `args["query"]`, oldest first, one a line."""
        limit = args.get("limit")
        most = min(limit, MOST) if isinstance(limit, int) and limit > 0 else 20
        query = storable(str(args.get("query", "")))
        rows = self.db.rows(SEARCH, thread=ctx.thread, query=query, most=most, shown=SHOWN_CHARACTERS)
        if not rows:
            return "Nothing was found."
        return "\n".join(f"[{row.created_at:%Y-%m-%d %H:%M} UTC] {row.actor}: {row.text}" for row in rows)
