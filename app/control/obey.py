"""Carrying out a control command, and saying what came of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app import approvals, bypasses
from app.closing import close_obeyed
from app.control.commands import Command
from app.control.desk import Answered, Desk, Order, answer, cancel, revoke, sees
from app.errors import Refused
from app.inbox import Accepted
from app.questions import minutes, shown_arguments
from app.states import OPEN_TURNS, sql_list
from app.traffic import Inbound

SHORTEST_ID = 6
"""Characters of a turn's id by whose end people may name it."""
LINE_CHARACTERS = 200

NAMED = f"""
    SELECT turn.id, turn.adapter, thread.team, thread.channel FROM turn JOIN thread ON thread.id = turn.thread_id
    WHERE turn.adapter = :adapter AND state IN ({sql_list(OPEN_TURNS)}) AND command IS NULL
        AND right(replace(CAST(turn.id AS text), '-', ''), length(:name)) = :name LIMIT 2"""

LINE = """
    SELECT turn.id, turn.state, turn.actor, now() - turn.created_at AS age,
        EXISTS (SELECT 1 FROM approval WHERE approval.turn_id = turn.id AND approval.state = 'pending') AS asks
    FROM turn"""

STANDING = f"""{LINE}
    WHERE turn.thread_id = :thread AND turn.state IN ({sql_list(OPEN_TURNS)}) AND turn.command IS NULL
    ORDER BY turn.seq LIMIT 20"""

CANCELLED_BY = "SELECT 1 FROM turn WHERE id = :turn AND cancel_by = :who"

WHOLE = """
    SELECT turn.id, turn.adapter, thread.team, thread.channel FROM turn JOIN thread ON thread.id = turn.thread_id
    WHERE turn.id = :turn"""

STANDING_OF = f"{LINE} WHERE turn.id = :turn"


def obey_at_once(desk: Desk, order: Order, command: Command, inbound: Inbound, accepted: Accepted) -> str:
    """Carry out a command whose message was accepted, and close its turn with what came of it.

    Killed in between, the turn is left for whoever takes the thread's lane, who does it again: that is harmless, since
    each order is carried out once at most.
    """
    text = obey(desk, order, command, accepted.thread_id)
    address = desk.adapters[inbound.adapter].address(inbound.reply, inbound.key)
    closed = close_obeyed(desk.db, accepted.thread_id, accepted.turn_id, accepted.trace, text, address)
    if closed is not None and closed.behind:
        # What was said meanwhile waited behind it.
        desk.wakes.thread(accepted.thread_id)
    if closed is not None and closed.destination is not None:
        desk.wakes.destination(closed.destination)
    return text


def obey(desk: Desk, order: Order, command: Command, thread: UUID) -> str:
    """Do it, and return what is to be said. What is refused is said as well; raises Unavailable."""
    texts = desk.settings.messages
    try:
        match command.verb:
            case "approve" | "deny":
                return answered(desk, order, command)
            case "approvals":
                rows = [row for row in approvals.pending(desk.db, adapter=order.adapter) if sees(desk, order, row)]
                return "\n".join(approval_line(desk, row) for row in rows) or texts.no_approvals
            case "bypasses":
                rows = [row for row in bypasses.listed(desk.db, order.adapter) if sees(desk, order, row)]
                return "\n".join(bypass_line(desk, row) for row in rows) or texts.no_bypasses
            case "revoke":
                return texts.bypass_revoked.format(id=revoke(desk, order, command.about).code)
            case "busy":
                return texts.busy
            case "cancel":
                return cancelled(desk, order, command.about)
            case _:
                return status(desk, order, command.about, thread)
    except Refused as error:
        if error.status == 404:
            return texts.unknown_id.format(id=command.about, command=command.verb)
        return texts.not_permitted.format(reason=error.message)


def answered(desk: Desk, order: Order, command: Command) -> str:
    name = command.about
    if command.verb == "approve":
        return told(desk, answer(desk, order, name, "approve", bypass=command.bypass))
    return told(desk, answer(desk, order, name, "deny"))


def told(desk: Desk, found: Answered) -> str:
    """What somebody is told who answered an approval."""
    texts, asked, decided = desk.settings.messages, found.asked, found.decided
    if not decided.won:
        return texts.approval_decided.format(id=asked.code, outcome=decided.state.value, who=decided.by)
    said = texts.approval_approved if decided.state == "approved" else texts.approval_denied
    text = said.format(id=asked.code, tool=asked.tool, who=decided.by)
    if found.grant is None:
        return text
    grant = found.grant
    granted = texts.bypass_granted.format(
        id=grant.code, user=asked.requester, scope=grant.scope, minutes=-int(-grant.seconds // 60)
    )
    return f"{text}\n{granted}"


def cancelled(desk: Desk, order: Order, name: str) -> str:
    texts, turn = desk.settings.messages, turn_of(desk, order, name)
    # Carried out by two processes at once, the order is still the one that cancelled it.
    done = cancel(desk, order, turn) is not None or desk.db.one(CANCELLED_BY, turn=turn, who=order.person.name)
    return (texts.cancelling if done else texts.nothing_to_cancel).format(id=name)


def status(desk: Desk, order: Order, name: str, thread: UUID) -> str:
    if name:
        row = desk.db.one(STANDING_OF, turn=turn_of(desk, order, name))
        return status_line(desk, row) if row else desk.settings.messages.status_idle
    rows = desk.db.rows(STANDING, thread=thread)
    return "\n".join(status_line(desk, row) for row in rows) or desk.settings.messages.status_idle


def turn_of(desk: Desk, order: Order, name: str) -> UUID:
    """The turn that is meant by an id, or by the end of one while it is open. Raises Refused (404)."""
    full = approvals.uuid_or_none(name)
    if full is not None:
        row = desk.db.one(WHOLE, turn=full)
        if row is not None and order.adapter in (None, row.adapter) and sees(desk, order, row):
            return full
    elif len(name) >= SHORTEST_ID:
        rows = desk.db.rows(NAMED, adapter=order.adapter, name=name)
        if len(rows) == 1 and sees(desk, order, rows[0]):
            found: UUID = rows[0].id
            return found
    raise Refused(f"there is no turn {name}", status=404)


def short(turn: UUID) -> str:
    return turn.hex[-8:]


def status_line(desk: Desk, row: Row[Any]) -> str:
    state = "pending_approval" if row.asks else row.state
    return desk.settings.messages.status_line.format(
        id=short(row.id), state=state, who=row.actor, minutes=int(row.age.total_seconds() // 60)
    )


def approval_line(desk: Desk, row: Row[Any]) -> str:
    shown = " ".join(shown_arguments(row.tool, row.args).split())
    return desk.settings.messages.approval_line.format(
        id=row.code,
        tool=row.tool,
        arguments=shown if len(shown) <= LINE_CHARACTERS else f"{shown[:LINE_CHARACTERS]}…",
        requester=row.requester,
        minutes=minutes(row.remaining),
    )


def bypass_line(desk: Desk, row: Row[Any]) -> str:
    return desk.settings.messages.bypass_line.format(
        id=row.code, user=row.actor, scope=row.scope, who=row.granted_by, minutes=minutes(row.remaining)
    )
