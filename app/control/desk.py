"""Where orders are carried out: the same for a command in a chat, a request, a button and the command line.

May they? is asked here; whether it still can be done is decided by the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row

from app import approvals, bypasses
from app import cancel as cancelling
from app.approvals import Decided, Decision, new_code
from app.audit import event
from app.bypasses import Grant
from app.cancel import Cancelled
from app.closing import note
from app.config.settings import Settings
from app.db import Database
from app.errors import Refused
from app.policy.people import Person, is_approver, may_approve, may_cancel, may_deny
from app.ports import Adapter
from app.queue import Wakes
from app.states import ApprovalState


@dataclass(frozen=True, slots=True)
class Desk:
    """What it takes."""

    db: Database
    wakes: Wakes
    settings: Settings
    adapters: Mapping[str, Adapter]


@dataclass(frozen=True, slots=True)
class Order:
    """Who gives it, and by which way."""

    person: Person
    via: str
    """The adapter by which it came, or `cli`."""
    adapter: str | None
    """Only what belongs to this adapter may be meant; None: anything."""
    place: tuple[str, str] | None = None
    """Team and channel where it is given; None: by a way that all of the adapter can be seen from."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of an answer to an approval."""

    asked: Row[Any]
    """The approval as it was before."""
    decided: Decided
    grant: Grant | None = None


def answer(
    desk: Desk,
    order: Order,
    name: str,
    decision: Literal["approve", "deny"],
    *,
    bypass: bool = False,
    bypass_seconds: float | None = None,
) -> Answered:
    """Answer an approval. Raises Refused: 404 for one that is not there, 403 for who may not, and what `decide` raises.

    An answer that came too late is no error: `decided.won` says so.
    """
    asked = approvals.find(desk.db, name, order.adapter)
    if not sees(desk, order, asked):
        raise Refused(f"there is no approval {name!r}", status=404)
    check(desk, order, asked, decision)
    approval = desk.settings.approval
    grant = None
    if bypass and decision == "approve":
        seconds = min(bypass_seconds or approval.bypass.duration, approval.bypass.max_duration)
        grant = Grant(new_code(), approval.bypass.scope, seconds)
    state = ApprovalState.APPROVED if decision == "approve" else ApprovalState.DENIED
    who = order.person.name
    texts = desk.settings.messages
    said = texts.approval_approved if decision == "approve" else texts.approval_denied
    decided = approvals.decide(
        desk.db,
        asked,
        Decision(
            state,
            who,
            order.via,
            said.format(id=asked.code, tool=asked.tool, who=who),
            f"{who} denied this call, so it was not run.",
            grant,
        ),
    )
    wake(desk.wakes, decided)
    if decided.again:
        grant = bypasses.granted_with(desk.db, asked.id)
    return Answered(asked, decided, grant if decided.won else None)


def sees(desk: Desk, order: Order, row: Row[Any]) -> bool:
    """Whether a row of a thread (`adapter`, `team`, `channel`) is theirs to know of: what is asked in a channel is for
    who sees that channel, and for those who are named as approvers."""
    if order.place is None or order.place == (row.team, row.channel):
        return True
    permissions = desk.settings.permissions_of(row.adapter)
    named = permissions.approvers is not None or permissions.admins is not None
    return named and is_approver(order.person, permissions)


def check(desk: Desk, order: Order, asked: Row[Any], decision: Literal["approve", "deny"]) -> None:
    """Raises Refused (403), and puts it on record that somebody tried."""
    permissions = desk.settings.permissions_of(asked.adapter)
    requesters = {asked.requester, *asked.others}
    if decision == "approve":
        self_approval = desk.settings.approval.allow_self_approval
        why = may_approve(order.person, requesters, permissions, self_approval=self_approval)
    else:
        why = may_deny(order.person, requesters, permissions)
    if why is None:
        return
    refused = event(
        "approval_refused",
        trace=asked.trace,
        thread=asked.thread_id,
        turn=asked.turn_id,
        approval=asked.code,
        adapter=asked.adapter,
        requester=asked.requester,
        by=order.person.name,
        via=order.via,
        why=why,
    )
    with desk.db.transaction() as connection:
        note(connection, [refused])
    raise Refused(why, status=403)


def revoke(desk: Desk, order: Order, code: str) -> Row[Any]:
    """End a bypass: an approver's, an admin's and its own holder's right. Raises Refused (404, 403, 409)."""
    bypass = bypasses.find(desk.db, code, order.adapter)
    if not sees(desk, order, bypass):
        raise Refused(f"there is no bypass {code!r}", status=404)
    permissions = desk.settings.permissions_of(bypass.adapter)
    if order.person.name != bypass.actor and not is_approver(order.person, permissions):
        raise Refused("only approvers may revoke this; ask one of them", status=403)
    if not bypasses.revoke(desk.db, bypass, order.person.name, order.via):
        raise Refused(f"bypass {bypass.code} has ended already", status=409)
    return bypass


def cancel(desk: Desk, order: Order, turn: UUID) -> Cancelled | None:
    """Cancel a turn; None where it is too late. Raises Refused: 404 for one that is not there, 403 for who may not."""
    found = cancelling.find(desk.db, turn)
    if found is None or order.adapter not in (None, found.adapter) or not sees(desk, order, found):
        raise Refused(f"there is no turn {turn}", status=404)
    permissions = desk.settings.permissions_of(found.adapter)
    why = may_cancel(order.person, found.actor, permissions, desk.settings.task.cancel)
    if why is not None:
        raise Refused(why, status=403)
    done = cancelling.cancel(
        desk.db,
        found.id,
        order.person.name,
        adapters=desk.adapters,
        texts=desk.settings.messages,
        via=order.via,
    )
    if done is not None:
        desk.wakes.thread(done.thread)
        for destination in done.destinations:
            desk.wakes.destination(destination)
    return done


def lapse(desk: Desk) -> None:
    """Say no where nobody answered in time, or could."""
    for decided in approvals.lapse(desk.db, desk.settings.messages):
        wake(desk.wakes, decided)


def wake(wakes: Wakes, decided: Decided) -> None:
    """Wake whoever goes on after a decision."""
    if decided.sandbox is not None:
        wakes.sandbox(*decided.sandbox)
    if decided.thread is not None:
        wakes.thread(decided.thread)
    if decided.destination is not None:
        wakes.destination(decided.destination)
