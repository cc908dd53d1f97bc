"""`heyfleet turns …`"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.bootstrap import desk_of
from app.cli.context import AsJson, Limit, connected, id_of, operator, show
from app.control.desk import cancel
from app.errors import Refused
from app.states import TurnState

app = typer.Typer(help="The agents' responses.", invoke_without_command=True)

COLUMNS = ("id", "state", "actor", "adapter", "step_count", "tokens", "created_at", "finished_at", "error")

LISTED = """
    SELECT turn.*, (SELECT sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) FROM step
        WHERE step.turn_id = turn.id) AS tokens
    FROM turn WHERE CAST(:state AS text) IS NULL OR state = :state ORDER BY created_at DESC LIMIT :limit"""


@app.callback()
def turns(
    context: typer.Context,
    state: Annotated[TurnState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The latest turns; `heyfleet turns cancel ID` stops one."""
    if context.invoked_subcommand:
        return
    with connected(context) as core:
        rows = [row._asdict() for row in core.db.rows(LISTED, state=state.value if state else None, limit=limit)]
    show(rows, COLUMNS, as_json=as_json, nothing="There are no such turns.")


@app.command("cancel")
def cancel_verb(context: typer.Context, turn: str) -> None:
    """Stop a turn where it is: its model request and its commands end within a second."""
    with connected(context) as core:
        if cancel(desk_of(core), operator(), id_of(turn, "turn")) is None:
            raise Refused(f"turn {turn} is finished, or cancelled already (see heyfleet turns)")
    sys.stdout.write(f"turn {turn} is being cancelled\n")
