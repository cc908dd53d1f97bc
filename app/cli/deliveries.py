"""`heyfleet deliveries …`"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app import redelivery
from app.cli.context import AsJson, Limit, connected, id_of, show
from app.errors import Refused
from app.states import DeliveryState

app = typer.Typer(help="What is sent to chat providers and callbacks.", no_args_is_help=True)

COLUMNS = ("id", "state", "attempts", "adapter", "address", "created_at", "due_at", "error")


@app.command("list")
def list_verb(
    context: typer.Context,
    state: Annotated[DeliveryState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The latest deliveries, and how each ended."""
    with connected(context) as core:
        rows = [row._asdict() for row in redelivery.listed(core.db, state.value if state else None, limit)]
    show(rows, COLUMNS, as_json=as_json, nothing="There are no such deliveries.")


@app.command()
def retry(context: typer.Context, delivery: str) -> None:
    """Send once more what ended `failed` or `ambiguous`."""
    with connected(context) as core:
        destination = redelivery.retry(core.db, id_of(delivery, "delivery"))
        if destination is None:
            raise Refused(f"delivery {delivery} is neither failed nor ambiguous (see heyfleet deliveries list)")
        core.wakes.destination(destination)
    sys.stdout.write(f"delivery {delivery} is sent again\n")
