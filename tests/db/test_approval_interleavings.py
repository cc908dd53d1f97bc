"""Asking, answering, lapsing and cancelling, with something else happening at each of their statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import pytest

from app import approvals
from app.control.desk import Order, answer, lapse
from app.db import Database
from app.errors import Refused, Unavailable
from app.inbox import Accepted
from app.policy.people import Person
from app.ports import Cancel, Prompt, UserText
from app.results import CallRequest, Verdict
from tests.db.doubles import ScriptedModel, TrustedTool, bash, call, echo
from tests.db.rows import expire, rows
from tests.db.stations import Worker
from tests.db.test_interleavings import Scene, at_each_statement, staged

RESULTS = """
    SELECT approval.state, call.id, call.tool, call.args, call.state FROM approval JOIN call ON call.id = call_id"""


def risky(prompt: Prompt, _: Cancel) -> str | list[CallRequest]:
    asked = [new.text for new in prompt.new if isinstance(new, UserText) and new.text.startswith("run")]
    return [*(bash(f"rm -rf '{text}'") for text in asked), call("pay")] if asked else echo(prompt)


@dataclass
class AskingScene(Scene):
    def settle(self) -> None:
        """As for all scenes; and only what was approved was run."""
        answer_all(self.other, "deny")
        super().settle()
        for state, call_id, tool, args, became in rows(self.db, RESULTS):
            ran = str(call_id) in self.pay.runs if tool == "pay" else args["command"] in self.ran
            assert not ran or state == "approved", (state, became)
            if became == "done":
                assert ran
        assert rows(self.db, "SELECT 1 FROM approval WHERE state = 'pending'") == []


def answer_all(worker: Worker, decision: Literal["approve", "deny"], turn: UUID | None = None) -> None:
    found = approvals.pending(worker.db) if turn is None else approvals.pending_of(worker.db, turn)
    for row in found:
        try:
            answer(worker.desk, Order(Person("grace"), "note", "note"), row.code, decision)
        except Refused as error:
            raise AssertionError(error.message) from error


@pytest.fixture
def scene(worker: Any, runner: Any, db: Database) -> AskingScene:
    pay = TrustedTool("pay", verdict=Verdict("ask", "Pay?"))
    return staged(AskingScene, worker, runner, db, ScriptedModel(rule=risky), pay)


def intruders(scene: AskingScene) -> dict[str, Callable[[Accepted], Any]]:
    def expired(accepted: Accepted) -> None:
        scene.db.rows("UPDATE approval SET expires_at = now() WHERE state = 'pending'")
        lapse(scene.other.desk)

    def advanced(accepted: Accepted) -> None:
        expire(scene.db, "thread", accepted.thread_id)
        scene.db.rows("UPDATE thread SET wake_at = now() WHERE id = :thread", thread=accepted.thread_id)
        scene.other.advance(accepted.thread_id)

    def commands(_: Accepted) -> None:
        for (sandbox,) in rows(scene.db, "SELECT id FROM sandbox WHERE wake_at IS NOT NULL"):
            scene.other_runner.work(sandbox)

    return {
        "approve": lambda accepted: answer_all(scene.other, "approve", accepted.turn_id),
        "deny": lambda accepted: answer_all(scene.other, "deny", accepted.turn_id),
        "expiry": expired,
        "cancel": lambda accepted: scene.other.cancel(accepted.turn_id),
        "message": lambda accepted: scene.other.say("more", thread=accepted.thread_key),
        "worker": advanced,
        "runner": commands,
    }


NAMES = ["approve", "deny", "expiry", "cancel", "message", "worker", "runner"]


@pytest.mark.parametrize("intruder", NAMES)
@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_an_answer(scene: AskingScene, database_url: str, decision: Any, intruder: str) -> None:
    def begin(name: str) -> Accepted:
        accepted = scene.stager.say(f"run {name}", thread=name)
        scene.stager.advance(accepted.thread_id)
        return accepted

    def act(accepted: Accepted) -> None:
        answer_all(scene.worker, decision, accepted.turn_id)

    # Of the approvals' own gate: who waits there is in the midst of deciding.
    statements = at_each_statement(
        scene, scene.worker, database_url, begin, act, intruders(scene)[intruder], "approval"
    )
    assert statements >= 8


@pytest.mark.parametrize("intruder", ["approve", "deny", "expiry", "cancel", "message", "worker"])
def test_the_turn_that_goes_on(scene: AskingScene, database_url: str, intruder: str) -> None:
    """From the step that asks to the reply, with one of its two questions answered before."""

    def begin(name: str) -> Accepted:
        accepted = scene.stager.say(f"run {name}", thread=name)
        scene.stager.advance(accepted.thread_id)
        (row, _) = approvals.pending_of(scene.db, accepted.turn_id)
        answer(scene.other.desk, Order(Person("grace"), "note", "note"), row.code, "approve")
        for (sandbox,) in rows(scene.db, "SELECT id FROM sandbox WHERE wake_at IS NOT NULL"):
            scene.other_runner.work(sandbox)
        return accepted

    def act(accepted: Accepted) -> None:
        scene.worker.advance(accepted.thread_id)
        answer_all(scene.worker, "approve", accepted.turn_id)
        scene.worker.advance(accepted.thread_id)

    assert at_each_statement(scene, scene.worker, database_url, begin, act, intruders(scene)[intruder]) >= 8


@pytest.mark.parametrize("intruder", ["approve", "deny", "expiry", "message", "worker", "runner"])
def test_a_turn_that_is_cancelled_while_it_asks(scene: AskingScene, database_url: str, intruder: str) -> None:
    def begin(name: str) -> Accepted:
        accepted = scene.stager.say(f"run {name}", thread=name)
        scene.stager.advance(accepted.thread_id)
        scene.stager.cancel(accepted.turn_id)
        return accepted

    def act(accepted: Accepted) -> None:
        scene.worker.advance(accepted.thread_id)

    assert at_each_statement(scene, scene.worker, database_url, begin, act, intruders(scene)[intruder]) >= 2
    assert rows(scene.db, "SELECT DISTINCT state FROM turn WHERE seq = 1") == [("cancelled",)]
    news = "SELECT 1 FROM delivery WHERE kind LIKE 'approval_outcome:%' GROUP BY kind HAVING count(*) > 1"
    assert rows(scene.db, news) == [], "there is one outcome of each question"


@pytest.mark.parametrize("intruder", ["cancel of the late one", "approve", "deny", "cancel", "message", "worker"])
def test_a_message_that_is_turned_away(scene: AskingScene, database_url: str, intruder: str) -> None:
    late: dict[str, Accepted] = {}

    def begin(name: str) -> Accepted:
        accepted = scene.stager.say(f"run {name}", thread=name)
        scene.stager.advance(accepted.thread_id)
        late[name] = scene.stager.say("are you there?", thread=name)
        return accepted

    def act(accepted: Accepted) -> None:
        scene.worker.advance(accepted.thread_id)

    found = {
        **intruders(scene),
        "cancel of the late one": lambda accepted: scene.other.cancel(late[accepted.thread_key].turn_id),
    }
    assert at_each_statement(scene, scene.worker, database_url, begin, act, found[intruder]) >= 2
    ended = rows(scene.db, "SELECT state, answer FROM turn WHERE seq = 2")
    assert {state for state, _ in ended} <= {"done", "cancelled"}
    assert all(answer == "Cancelled by eve." for state, answer in ended if state == "cancelled")


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_an_answer_whose_connection_breaks(scene: AskingScene, database_url: str, decision: Any) -> None:
    """Then nobody knows whether it counts; asked again, it is told."""

    def begin(name: str) -> Accepted:
        accepted = scene.stager.say(f"run {name}", thread=name)
        scene.stager.advance(accepted.thread_id)
        return accepted

    def act(accepted: Accepted) -> None:
        try:
            answer_all(scene.worker, decision, accepted.turn_id)
        except Unavailable:
            answer_all(scene.worker, decision, accepted.turn_id)

    assert at_each_statement(scene, scene.worker, database_url, begin, act) >= 8
    wanted = {"approve": "approved", "deny": "denied"}[decision]
    assert rows(scene.db, "SELECT DISTINCT state FROM approval") == [(wanted,)]
