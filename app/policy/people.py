"""Who may answer an approval, and who may cancel a turn. Pure; each answer is why not, or None."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from app.config.adapters import People, Permissions

Canceller = Literal["admin", "approver", "initiator", "allowed"]


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who gives an order, as an adapter vouches for them."""

    name: str
    groups: Sequence[str] = ()
    bot: bool = False
    operator: bool = False
    """At a shell of the fleet itself: whoever is there could change the rows as well."""


def may_enter(person: Person, allow: People | None) -> str | None:
    """Whether they may talk with an adapter's agent at all."""
    return None if allow is None or named(person, allow) else f"{person.name} is not allowed here"


def may_approve(
    person: Person, requesters: Collection[str], permissions: Permissions, *, self_approval: bool
) -> str | None:
    """Whether they may let a call be made; `requesters` are all whose messages its turn had read."""
    if person.name in requesters and not self_approval:
        return "nobody may approve what they asked for themselves; ask somebody else to"
    return None if is_approver(person, permissions) else "only approvers may answer this; ask one of them"


def may_deny(person: Person, requesters: Collection[str], permissions: Permissions) -> str | None:
    """As for approving; and anyone may deny their own."""
    if person.name in requesters or is_approver(person, permissions):
        return None
    return "only approvers may answer this; ask one of them"


def may_cancel(person: Person, initiator: str, permissions: Permissions, who: Canceller) -> str | None:
    """`who` is `task.cancel`; each includes those before it: admin, approver, initiator, allowed."""
    if who == "allowed" or is_admin(person, permissions):
        return None
    if who == "initiator" and person.name == initiator:
        return None
    # Without approvers everybody is one by the fallback, which is meant for answers: it lets nobody cancel for others.
    if who != "admin" and permissions.approvers is not None and is_approver(person, permissions):
        return None
    if who == "approver" and permissions.approvers is None and permissions.admins is None and not person.bot:
        return None
    meant = {"admin": "admins", "approver": "approvers", "initiator": "who asked for it, approvers and admins"}
    return f"only {meant[who]} may cancel this; ask one of them"


def is_admin(person: Person, permissions: Permissions) -> bool:
    return person.operator or named(person, permissions.admins)


def is_approver(person: Person, permissions: Permissions) -> bool:
    """Admins are. Where neither are named, everybody who sees the thread is, but for bots."""
    if permissions.approvers is None and permissions.admins is None:
        return person.operator or not person.bot
    return is_admin(person, permissions) or named(person, permissions.approvers)


def nobody_can(permissions: Permissions) -> bool:
    """Whether approvers are configured, and none of them exists: no question could ever be answered."""
    lists = [people for people in (permissions.approvers, permissions.admins) if people is not None]
    return bool(lists) and not any(people.users or people.groups for people in lists)


def named(person: Person, people: People | None) -> bool:
    return people is not None and (person.name in people.users or not set(person.groups).isdisjoint(people.groups))
