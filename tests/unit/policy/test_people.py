"""Who may answer, cancel and enter, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.adapters import People, Permissions
from app.policy.people import Person, is_approver, may_approve, may_cancel, may_deny, may_enter, nobody_can

NONE = Permissions()
SOME = Permissions(approvers=People(users=["grace"], groups=["sre"]), admins=People(users=["root"]))
ADMINS = Permissions(admins=People(users=["root"]))
EMPTY = Permissions(approvers=People())
GRACE, ADA, ROOT = Person("grace"), Person("ada"), Person("root")
MEMBER, BOT, SHELL = Person("mia", groups=["sre", "all"]), Person("bot", bot=True), Person("me", operator=True)


@pytest.mark.parametrize(
    ("permissions", "approvers"),
    [
        (NONE, {"grace", "ada", "root", "mia", "me"}),
        (SOME, {"grace", "root", "mia", "me"}),
        (ADMINS, {"root", "me"}),
        (EMPTY, {"me"}),
    ],
)
def test_approvers(permissions: Permissions, approvers: set[str]) -> None:
    everybody = (GRACE, ADA, ROOT, MEMBER, BOT, SHELL)
    assert {person.name for person in everybody if is_approver(person, permissions)} == approvers
    for person in everybody:
        allowed = may_approve(person, {"zoe"}, permissions, self_approval=True) is None
        assert allowed == (may_deny(person, {"zoe"}, permissions) is None) == (person.name in approvers)


def test_a_bot_that_is_named_may() -> None:
    assert is_approver(BOT, Permissions(approvers=People(users=["bot"])))


def test_one_s_own() -> None:
    assert may_approve(GRACE, {"grace"}, SOME, self_approval=True) is None
    assert may_approve(GRACE, {"ada", "grace"}, SOME, self_approval=False) is not None
    assert may_approve(ADA, {"ada"}, SOME, self_approval=True) is not None
    assert may_deny(ADA, {"ada"}, SOME) is None
    assert may_deny(BOT, {"bot"}, NONE) is None


@pytest.mark.parametrize(
    ("who", "permissions", "may"),
    [
        ("allowed", SOME, {"grace", "ada", "root", "mia", "bot", "me"}),
        ("initiator", SOME, {"grace", "ada", "root", "mia", "me"}),
        ("approver", SOME, {"grace", "root", "mia", "me"}),
        ("admin", SOME, {"root", "me"}),
        ("initiator", NONE, {"ada", "me"}),
        ("approver", NONE, {"grace", "ada", "root", "mia", "me"}),
        ("admin", NONE, {"me"}),
        ("initiator", ADMINS, {"ada", "root", "me"}),
        ("approver", ADMINS, {"root", "me"}),
    ],
)
def test_who_may_cancel_what_ada_asked_for(who: Any, permissions: Permissions, may: set[str]) -> None:
    everybody = (GRACE, ADA, ROOT, MEMBER, BOT, SHELL)
    assert {person.name for person in everybody if may_cancel(person, "ada", permissions, who) is None} == may


def test_whether_anybody_can_answer_at_all() -> None:
    assert not nobody_can(NONE)
    assert not nobody_can(SOME)
    assert nobody_can(EMPTY)
    assert nobody_can(Permissions(approvers=People(), admins=People()))
    assert not nobody_can(Permissions(approvers=People(), admins=People(groups=["ops"])))


def test_who_may_enter() -> None:
    assert may_enter(ADA, None) is None
    assert may_enter(ADA, People(users=["ada"])) is None
    assert may_enter(MEMBER, People(groups=["sre"])) is None
    assert may_enter(ADA, People()) == "ada is not allowed here"
