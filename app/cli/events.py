"""`heyfleet events`"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.context import AsJson, Limit, connected, id_of, show

COLUMNS = ("created_at", "kind", "trace", "turn_id", "data")

LISTED = """
    SELECT * FROM (
        SELECT id, created_at, kind, trace, thread_id, turn_id, data FROM event
        WHERE (CAST(:trace AS text) IS NULL OR trace = :trace)
            AND (CAST(:turn AS uuid) IS NULL OR turn_id = :turn)
        ORDER BY created_at DESC, id DESC LIMIT :limit) AS latest
    ORDER BY created_at, id"""


def events(
    context: typer.Context,
    trace: Annotated[
        str | None, typer.Option(help="Only what belongs to this trace: one message's whole story.")
    ] = None,
    turn: Annotated[str | None, typer.Option(help="Only what belongs to this turn.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """The audit trail, oldest first."""
    with connected(context) as core:
        found = core.db.rows(LISTED, trace=trace, turn=id_of(turn, "turn") if turn else None, limit=limit)
        rows = [row._asdict() for row in found]
    show(rows, COLUMNS, as_json=as_json, nothing="There are no such events.")
