"""`heyfleet approvals …`"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from sqlalchemy import Row

from app import approvals as rows
from app import bypasses as bypass_rows
from app import questions, tracing
from app.bootstrap import desk_of
from app.cli.context import AsJson, Limit, connected, operator, plain, show
from app.config.units import positive, seconds
from app.control import desk
from app.control.obey import told
from app.errors import Refused

app = typer.Typer(help="What agents ask people about before they do it.", no_args_is_help=True)

COLUMNS = ("id", "state", "requester", "adapter", "tool", "arguments", "minutes_left", "decided_by")
BYPASS_COLUMNS = ("id", "actor", "adapter", "scope", "granted_by", "minutes_left")

Id = Annotated[str, typer.Argument(help="As heyfleet approvals list shows it.")]


@app.command("list")
def list_verb(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were answered or lapsed.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """What waits for an answer."""
    with connected(context) as core:
        found = rows.latest(core.db, limit) if everything else rows.pending(core.db, limit=limit)
    show([line(row) for row in found], COLUMNS, as_json=as_json, nothing="Nothing waits for an approval.")


@app.command("show")
def show_verb(context: typer.Context, approval: Id, as_json: AsJson = False) -> None:
    """One approval, with all of what would be run."""
    with connected(context) as core:
        row = rows.find(core.db, approval)
    facts = {
        **questions.view(row),
        "adapter": row.adapter,
        "channel": row.channel,
        "decidedVia": row.decided_via,
        "turn": row.turn_id,
        "trace": row.trace,
    }
    if as_json:
        sys.stdout.write(json.dumps(facts, default=plain, indent=2) + "\n")
        return
    for name, value in facts.items():
        if value not in (None, ""):
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(plain(value))
            sys.stdout.write(f"{name:<11} {questions.visible(text)}\n")


@app.command()
def approve(
    context: typer.Context,
    approval: Id,
    bypass: Annotated[bool, typer.Option("--bypass", help="And don't ask for this requester for a while.")] = False,
    duration: Annotated[str | None, typer.Option("--for", help="How long, such as 10m; with --bypass.")] = None,
) -> None:
    """Let the call be run."""
    if duration is not None and not bypass:
        raise Refused("--for says how long a bypass holds: say --bypass as well")
    with connected(context) as core:
        tracing.begin(core.settings.tracing, "cli")
        held = duration_of(duration) if duration else None
        found = desk.answer(desk_of(core), operator(), approval, "approve", bypass=bypass, bypass_seconds=held)
        report(desk_of(core), found)


@app.command()
def deny(context: typer.Context, approval: Id) -> None:
    """Don't let the call be run."""
    with connected(context) as core:
        tracing.begin(core.settings.tracing, "cli")
        report(desk_of(core), desk.answer(desk_of(core), operator(), approval, "deny"))


@app.command()
def bypasses(context: typer.Context, as_json: AsJson = False) -> None:
    """Who is not asked at present."""
    with connected(context) as core:
        found = bypass_rows.listed(core.db)
    lines = [{**row._asdict(), "id": row.code, "minutes_left": questions.minutes(row.remaining)} for row in found]
    show(lines, BYPASS_COLUMNS, as_json=as_json, nothing="Nobody has a bypass.")


@app.command()
def revoke(
    context: typer.Context, bypass: Annotated[str, typer.Argument(help="As heyfleet approvals bypasses shows it.")]
) -> None:
    """End a bypass."""
    with connected(context) as core:
        row = desk.revoke(desk_of(core), operator(), bypass)
    sys.stdout.write(f"bypass {row.code} is revoked: {row.actor} is asked again\n")


def report(at: desk.Desk, found: desk.Answered) -> None:
    """Say what came of an answer. Raises Refused where it came too late."""
    if not found.decided.won:
        raise Refused(told(at, found))
    sys.stdout.write(told(at, found) + "\n")


def duration_of(text: str) -> float:
    try:
        return positive(float(seconds(text)))
    except ValueError as error:
        raise Refused(f"--for: {error}") from error


def line(row: Row[Any]) -> dict[str, Any]:
    shown = {**row._asdict(), "id": row.code, "arguments": questions.shown_arguments(row.tool, row.args)}
    return {**shown, "minutes_left": questions.minutes(row.remaining) if row.state == "pending" else None}
