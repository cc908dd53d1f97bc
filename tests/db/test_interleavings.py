"""A turn, a sandbox's calls and a destination's deliveries, with something else happening at each of their statements.

A statement is a transaction, so what happens between any two of them, and while one waits for a row, is all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import pytest

from app.db import Database
from app.errors import Unavailable
from app.inbox import Accepted
from app.ports import Cancel, Prompt, UserText
from app.results import CallRequest
from tests.db.doubles import NoteAdapter, NoteRuntime, ScriptedModel, TrustedTool, bash, call, echo
from tests.db.interleaving import INTRUDER, Intrusion, Mode
from tests.db.rows import assert_settled, expire, pump, rows, value
from tests.db.stations import Runner, Worker

MOST_STATEMENTS = 60


def obliging(prompt: Prompt, _: Cancel) -> str | list[CallRequest]:
    """Runs a command and a trusted tool where it is asked to; else it repeats what it was told."""
    asked = [new.text for new in prompt.new if isinstance(new, UserText) and new.text.startswith("run")]
    return [*(bash(text) for text in asked), call("pay")] if asked else echo(prompt)


@dataclass
class Scene:
    """Two workers and two runners; the first of each is at work, the others are what comes between."""

    db: Database
    worker: Worker
    runner: Runner
    other: Worker
    other_runner: Runner
    stager: Worker
    """Commits turns and does not send their replies."""
    pay: TrustedTool
    ran: list[str] = field(default_factory=list)
    sends: list[Any] = field(default_factory=list)

    def sandbox(self) -> UUID:
        found: UUID = value(self.db, "SELECT id FROM sandbox WHERE wake_at IS NOT NULL")
        return found

    def destination(self, address: str) -> UUID:
        found: UUID = value(self.db, "SELECT id FROM destination WHERE address = :address", address=address)
        return found

    def settle(self) -> None:
        """Let the others do what is left to do, and check that all is well."""
        for table in ("thread", "destination", "sandbox"):
            for (lane,) in rows(self.db, f"SELECT id FROM {table} WHERE lease_owner IS NOT NULL"):
                expire(self.db, table, lane)
        pump(self.other, self.other_runner)
        assert_settled(self.db)
        assert len(self.ran) == len(set(self.ran)), "no command runs twice"
        assert len(self.pay.runs) == len(set(self.pay.runs)), "no trusted call runs twice"
        sent = [delivery.id for delivery in self.sends]
        assert len(sent) == len(set(sent)), "no delivery leaves twice"
        order = {str(row[0]): (row[1], row[2]) for row in rows(self.db, "SELECT id, destination_id, seq FROM delivery")}
        places: dict[UUID, list[int]] = {}
        for delivery in sent:
            place, seq = order[delivery]
            places.setdefault(place, []).append(seq)
        assert all(seqs == sorted(seqs) for seqs in places.values()), "deliveries leave in order"
        ignored = rows(self.db, "SELECT id FROM turn WHERE cancel_by IS NOT NULL AND state <> 'cancelled'")
        assert ignored == [], "who is told that a turn is being cancelled is not answered as if it were not"
        assert rows(self.db, "SELECT id FROM delivery WHERE state = 'failed' AND error NOT LIKE 'withdrawn%'") == []


S = TypeVar("S", bound=Scene)


@pytest.fixture
def scene(worker: Any, runner: Any, db: Database) -> Scene:
    return staged(Scene, worker, runner, db, ScriptedModel(rule=obliging), TrustedTool("pay"))


def staged(kind: type[S], worker: Any, runner: Any, db: Database, model: ScriptedModel, pay: TrustedTool) -> S:
    ran: list[str] = []
    # One that can't tell a repeated send from a new one: what may have arrived must not be sent again.
    adapter = NoteAdapter(in_doubt="flag")
    runtime = NoteRuntime(lambda command, _: ran.append(command))
    edges = {"model": model, "adapter": adapter, "tools": {"pay": pay}}
    return kind(
        db,
        worker(**edges),
        runner(runtime=runtime),
        worker(**edges, name=INTRUDER),
        runner(runtime=runtime, runner_id="r2", name=INTRUDER),
        worker(**edges, name=INTRUDER, delivers=False),
        pay,
        ran,
        adapter.sends,
    )


def at_each_statement(
    scene: Scene,
    station: Worker | Runner,
    database_url: str,
    begin: Callable[[str], Any],
    act: Callable[[Any], None],
    intrude: Callable[[Any], Any] | None = None,
    gate: str = "thread",
) -> int:
    """Begin anew for each statement that `station` makes in `act`, with `intrude` at it, or with its connection
    broken there; until there is no such statement. How many there are."""
    modes: list[Mode] = ["before", "during"] if intrude else ["lost", "answer lost"]
    for nth in range(MOST_STATEMENTS):
        happened = False
        for mode in modes:
            began = begin(f"{mode} {nth}")
            intrusion = Intrusion(nth, mode, partial(intrude or nothing, began), database_url, gate)
            with told(nth, intrusion), intrusion.on(station.db.engine):
                act(began)
            scene.settle()
            happened |= intrusion.happened
        if not happened:
            return nth
    raise AssertionError("there is no end to the statements")


def nothing(_: Any) -> None:
    """The connection's breaking is all that happens."""


@contextmanager
def told(nth: int, intrusion: Intrusion) -> Iterator[None]:
    """Where Postgres is out of reach, whoever sent the wake is told so; anything else is a defect."""
    try:
        yield
    except Unavailable:
        assert intrusion.mode in ("lost", "answer lost"), f"statement {nth}"


@pytest.mark.parametrize("text", ["hello", "run"])
@pytest.mark.parametrize("intruder", ["message", "cancel", "runner", "takeover", "takeover of the destination"])
def test_a_turn(scene: Scene, database_url: str, text: str, intruder: str) -> None:
    def begin(name: str) -> Accepted:
        return scene.worker.say(f"{text} {name}", thread=name)

    def act(accepted: Accepted) -> None:
        scene.worker.advance(accepted.thread_id)

    def take_over(accepted: Accepted) -> None:
        expire(scene.db, "thread", accepted.thread_id)
        scene.other.advance(accepted.thread_id)

    def take_over_destinations(_: Accepted) -> None:
        for (lane,) in rows(scene.db, "SELECT id FROM destination WHERE lease_owner IS NOT NULL"):
            expire(scene.db, "destination", lane)
            scene.other.deliver(lane)

    def run_commands(_: Accepted) -> None:
        for (sandbox,) in rows(scene.db, "SELECT id FROM sandbox WHERE wake_at IS NOT NULL"):
            scene.other_runner.work(sandbox)

    intruders: dict[str, Callable[[Accepted], Any]] = {
        "message": lambda accepted: scene.other.say("more", thread=accepted.thread_key),
        "cancel": lambda accepted: scene.other.cancel(accepted.turn_id),
        "runner": run_commands,
        "takeover": take_over,
        "takeover of the destination": take_over_destinations,
    }
    gate = "destination" if "destination" in intruder else "thread"
    statements = at_each_statement(scene, scene.worker, database_url, begin, act, intruders[intruder], gate)
    assert statements >= (4 if text == "hello" else 6)
    cancelled = rows(scene.db, "SELECT answer FROM turn WHERE state = 'cancelled'")
    assert set(cancelled) <= {("Cancelled by eve.",)}
    assert rows(scene.db, "SELECT id FROM turn WHERE state = 'failed'") == []
    if intruder in ("message", "runner"):
        assert rows(scene.db, "SELECT id FROM call WHERE state <> 'done'") == []
        assert len(scene.ran) == (0 if text == "hello" else 2 * (statements + 1))


@pytest.mark.parametrize("text", ["hello", "run"])
def test_a_turn_whose_connection_breaks(scene: Scene, database_url: str, text: str) -> None:
    def act(accepted: Accepted) -> None:
        scene.worker.advance(accepted.thread_id)

    def begin(name: str) -> Accepted:
        return scene.worker.say(f"{text} {name}", thread=name)

    statements = at_each_statement(scene, scene.worker, database_url, begin, act)
    assert statements >= (4 if text == "hello" else 6)
    assert rows(scene.db, "SELECT id FROM turn WHERE state <> 'done'") == []
    # A step that was committed is not paid for again: at most the one whose taking broke.
    assert len(scene.worker.model.prompts) <= value(scene.db, "SELECT count(*) FROM step") + statements


@pytest.mark.parametrize("intruder", ["message", "cancel", "thread", "takeover", "more calls"])
def test_calls_in_a_sandbox(scene: Scene, database_url: str, intruder: str) -> None:
    def begin(name: str) -> Accepted:
        accepted = scene.worker.say(f"run {name}", thread="t")
        scene.worker.advance(accepted.thread_id)
        return accepted

    def work(_: Accepted) -> None:
        scene.runner.work(scene.sandbox())

    def intrude(accepted: Accepted) -> None:
        if intruder == "message":
            scene.other.say("more", thread="t")
        elif intruder == "cancel":
            scene.other.cancel(accepted.turn_id)
        elif intruder == "thread":
            scene.other.advance(accepted.thread_id)
        elif intruder == "takeover":
            sandbox = value(scene.db, "SELECT id FROM sandbox")
            expire(scene.db, "sandbox", sandbox)
            scene.other_runner.work(sandbox)
        else:
            # Another thread of the same scope: its channel is the sandbox's.
            second = scene.other.say(f"run also {accepted.turn_id}", thread=f"u {accepted.turn_id}", channel="t")
            scene.other.advance(second.thread_id)

    gate = "thread" if intruder in ("message", "cancel") else "sandbox"
    statements = at_each_statement(scene, scene.runner, database_url, begin, work, intrude, gate)
    assert statements >= 2
    assert value(scene.db, "SELECT count(*) FROM sandbox") == 1
    if intruder in ("message", "thread", "more calls"):
        assert rows(scene.db, "SELECT id FROM call WHERE state <> 'done'") == []
    # What a command did to the sandbox is there for the next one: none was lost with a stale snapshot.
    ended = value(scene.db, "SELECT count(*) FROM call WHERE tool = 'bash' AND state = 'done'")
    snapshot = value(scene.db, "SELECT convert_from(snapshot, 'utf8')::jsonb FROM sandbox")
    done = {row[0] for row in rows(scene.db, "SELECT args ->> 'command' FROM call WHERE tool='bash' AND state='done'")}
    assert done <= set(snapshot)
    assert len(done) == ended


def test_calls_whose_connection_breaks(scene: Scene, database_url: str) -> None:
    def begin(name: str) -> Accepted:
        accepted = scene.worker.say(f"run {name}", thread="t")
        scene.worker.advance(accepted.thread_id)
        return accepted

    def work(_: Accepted) -> None:
        scene.runner.work(scene.sandbox())

    statements = at_each_statement(scene, scene.runner, database_url, begin, work)
    assert statements >= 2
    states = dict(rows(scene.db, "SELECT state, count(*) FROM call WHERE tool = 'bash' GROUP BY state"))
    # Only where the claim's answer was lost does nobody know what became of the command.
    assert states == {"done": 2 * (statements + 1) - 1, "interrupted": 1}


@pytest.mark.parametrize("intruder", ["staged", "takeover", "both"])
def test_deliveries(scene: Scene, database_url: str, intruder: str) -> None:
    def begin(name: str) -> str:
        for n in range(2):
            accepted = scene.worker.say(f"hello {n}", thread=f"{name} {n}", reply={"to": name})
            stage(scene, accepted)
        return name

    def act(name: str) -> None:
        scene.worker.deliver(scene.destination(name))

    def intrude(name: str) -> None:
        if intruder != "staged":
            expire(scene.db, "destination", scene.destination(name))
            scene.other.deliver(scene.destination(name))
        if intruder != "takeover":
            stage(scene, scene.other.say("more", thread=f"{name} more", reply={"to": name}))

    statements = at_each_statement(scene, scene.worker, database_url, begin, act, intrude, "destination")
    assert statements >= 4
    states = {row[0] for row in rows(scene.db, "SELECT state FROM delivery")}
    assert states <= {"sent", "ambiguous"}
    if intruder == "staged":
        assert states == {"sent"}


def stage(scene: Scene, accepted: Accepted) -> None:
    """Commit the turn's reply without sending it."""
    scene.stager.advance(accepted.thread_id)
