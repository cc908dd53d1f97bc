"""Trusted tools that reach the sandbox of their turn: through its lane, once each, and fenced like all else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.db import Database
from app.errors import Cancelled, Permanent
from app.ports import ToolResult
from app.turns.facts import take
from tests.db.doubles import NoteRuntime, ScriptedModel, TrustedTool, bash, call
from tests.db.interleaving import wait_until
from tests.db.rows import assert_settled, expire, pump, rows, value
from tests.db.stations import Runner, Worker

Make = Callable[..., Any]
CHILDREN = "SELECT tool, state, result FROM call WHERE parent_id IS NOT NULL ORDER BY ordinal"


class Died(BaseException):
    """The process is gone from here on, as far as the code under test can tell."""


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def building(
    worker: Make, run: Callable[[Any, Mapping[str, Any]], str], *more: Any, idempotent: bool = False
) -> Worker:
    """A worker whose model calls the tool `build`, and calls of `more` beside it."""
    tool = TrustedTool("build", run, idempotent=idempotent)
    w: Worker = worker(model=ScriptedModel([call("build"), *more]), tools={"build": tool})
    return w


@pytest.mark.parametrize(
    ("command", "runtime", "said"),
    [
        ("rm -rf x", "guarded", "not run, it needs an approval, for which a tool can't ask: rm: "),
        ("reboot", "guarded", "not run, it is blocked: reboot: "),
        ("make it", "guarded", "not run, it is blocked: make: the policy blocks make *"),
        ("ls", "guarded", "ls"),
        ("rm -rf x", "virtual", "rm -rf x"),
    ],
)
def test_on_the_host_a_tool_runs_only_what_nobody_need_be_asked_about(
    worker: Make, runner: Make, aside: ThreadPoolExecutor, command: str, runtime: str, said: str
) -> None:
    tool = TrustedTool("build", lambda ctx, _: ctx.sandbox.bash(command))
    policy = {"block": ["make *"]}
    w: Worker = worker(
        model=ScriptedModel([call("build")]), tools={"build": tool}, runtime={"name": runtime}, policy=policy
    )
    r: Runner = runner(runtime=NoteRuntime(name=runtime))
    working = aside.submit(w.advance, w.say().thread_id)
    run_until(r, working.done)
    working.result()
    assert told(w)[0].startswith(said)


def told(w: Worker) -> list[str]:
    """What the model's last request said that its calls returned."""
    return [new.content for new in w.model.prompts[-1].new if isinstance(new, ToolResult)]


def run_until(r: Runner, done: Callable[[], bool]) -> None:
    """Do what wakes would do for sandboxes."""

    def look() -> bool:
        for (sandbox,) in rows(r.db, "SELECT id FROM sandbox WHERE wake_at <= now() AND lease_owner IS NULL"):
            r.work(sandbox)
        return done()

    wait_until(look)


def test_a_tool_runs_commands_where_the_agents_own_run(
    worker: Make, runner: Make, db: Database, aside: ThreadPoolExecutor
) -> None:
    def build(ctx: Any, _: Mapping[str, Any]) -> str:
        first = ctx.sandbox.bash("make")
        return f"{first} / {ctx.sandbox.bash('make test', timeout=5)} / {ctx.sandbox.read('log')}"

    w, r = building(worker, build), runner()
    working = aside.submit(w.advance, w.say().thread_id)
    run_until(r, working.done)
    assert told(w) == ["make / make make test / make\nmake test"]
    assert [row[:2] for row in rows(db, CHILDREN)] == [("bash", "done"), ("bash", "done"), ("read", "done")]
    pump(w, r)
    assert_settled(db)
    w.model.script = [[bash("ls")]]
    w.say()
    pump(w, r)
    assert told(w) == ["make make test ls"], "the model's own calls see the same sandbox"


def test_tools_side_by_side_with_calls_of_the_model(
    worker: Make, runner: Make, db: Database, aside: ThreadPoolExecutor
) -> None:
    """All of them in one sandbox, while a runner finishes what another asked for there."""

    def build(ctx: Any, args: Mapping[str, Any]) -> str:
        for number in range(5):
            ctx.sandbox.bash(f"{args['name']}{number}")
        return "built"

    w: Worker = worker(
        model=ScriptedModel([call("build", name="a"), bash("x"), call("build", name="b"), bash("y")]),
        tools={"build": TrustedTool("build", build)},
    )
    r = runner()
    working = aside.submit(w.advance, w.say().thread_id)
    run_until(r, lambda: working.done() and not rows(db, "SELECT id FROM call WHERE state = 'queued'"))
    pump(w, r)
    assert [result for result in told(w) if result == "built"] == ["built", "built"]
    assert sorted(r.runtime.opened[0].lines) == sorted([*(f"{n}{i}" for n in "ab" for i in range(5)), "x", "y"])
    assert_settled(db)


def test_what_the_sandbox_refuses_is_raised(
    worker: Make, runner: Make, db: Database, aside: ThreadPoolExecutor
) -> None:
    def build(ctx: Any, _: Mapping[str, Any]) -> str:
        with pytest.raises(Permanent, match="disk is full"):
            ctx.sandbox.bash("make")
        return "refused"

    def on_exec(_command: str, _cancel: Any) -> None:
        raise Permanent("the disk is full")

    w, r = building(worker, build), runner(runtime=NoteRuntime(on_exec))
    working = aside.submit(w.advance, w.say().thread_id)
    run_until(r, working.done)
    assert told(w) == ["refused"]


def test_a_tool_that_runs_again_gets_what_was_done(
    worker: Make, runner: Make, db: Database, aside: ThreadPoolExecutor
) -> None:
    """The process dies behind the tool's first command, or while its second waits: nothing runs twice."""
    dies = [True]

    def build(ctx: Any, _: Mapping[str, Any]) -> str:
        first = ctx.sandbox.bash("make")
        if dies.pop() if dies else False:
            raise Died
        return f"{first}, {ctx.sandbox.bash('make test')}"

    w, r = building(worker, build, idempotent=True), runner()
    thread = w.say().thread_id
    first = aside.submit(w.advance, thread)
    run_until(r, first.done)
    assert isinstance(first.exception(), Died)
    expire(db, "thread", thread)
    working = aside.submit(w.advance, thread)
    run_until(r, working.done)
    assert r.runtime.opened[0].lines == ["make", "make test"]
    assert told(w) == ["make, make make test"]
    pump(w, r)
    assert_settled(db)


def test_what_a_dead_tool_had_asked_for_is_not_run(
    worker: Make, runner: Make, db: Database, aside: ThreadPoolExecutor
) -> None:
    asked = []

    def build(ctx: Any, _: Mapping[str, Any]) -> str:
        asked.append(aside.submit(ctx.sandbox.bash, "make"))
        wait_until(lambda: rows(db, CHILDREN) != [])
        raise Died

    w, r = building(worker, build), runner()
    thread = w.say().thread_id
    with pytest.raises(Died):
        w.advance(thread)
    assert rows(db, CHILDREN) == [("bash", "queued", None)]
    expire(db, "thread", thread)
    w.advance(thread)
    assert "nobody knows whether it took effect" in told(w)[0]
    assert rows(db, CHILDREN) == [("bash", "cancelled", None)]
    assert isinstance(asked[0].exception(20), Cancelled)
    pump(w, r)
    assert r.runtime.opened == []
    assert_settled(db)


@pytest.mark.parametrize("after", ["taken", "worked on"])
def test_who_lost_the_turn_asks_for_nothing(
    worker: Make, runner: Make, db: Database, aside: ThreadPoolExecutor, after: str
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def build(ctx: Any, _: Mapping[str, Any]) -> str:
        inside.set()
        go_on.wait(20)
        with pytest.raises(Cancelled):
            ctx.sandbox.bash("make")
        return "too late"

    w, other = building(worker, build), worker(tools={"build": TrustedTool("build")})
    thread = w.say().thread_id
    working = aside.submit(w.advance, thread)
    assert inside.wait(20)
    expire(db, "thread", thread)
    if after == "taken":
        assert take(other.db, other.keeper, thread)
    else:
        other.advance(thread)
    go_on.set()
    working.result(20)
    assert rows(db, CHILDREN) == []
    if after == "taken":
        expire(db, "thread", thread)
        other.advance(thread)
    assert len(other.model.prompts) == 1
    pump(other, runner())
    assert_settled(db)


@pytest.mark.parametrize("running", [False, True])
def test_cancelling_the_turn_ends_the_wait_and_the_command(
    worker: Make, runner: Make, db: Database, aside: ThreadPoolExecutor, running: bool
) -> None:
    begun, raised = threading.Event(), threading.Event()

    def build(ctx: Any, _: Mapping[str, Any]) -> str:
        try:
            return str(ctx.sandbox.bash("make"))
        except Cancelled:
            raised.set()
            raise

    def on_exec(_command: str, cancel: Any) -> None:
        begun.set()
        assert cancel.wait(20)

    w, r = building(worker, build), runner(runtime=NoteRuntime(on_exec))
    w.keeper.start()
    r.keeper.start()
    accepted = w.say()
    working = aside.submit(w.advance, accepted.thread_id)
    wait_until(lambda: rows(db, CHILDREN) != [])
    if running:
        ran = aside.submit(r.work, value(db, "SELECT id FROM sandbox"))
        assert begun.wait(20)
    w.cancel(accepted.turn_id)
    working.result(20)
    assert raised.is_set()
    if running:
        ran.result(20)
    pump(w, r)
    assert value(db, "SELECT state FROM turn") == "cancelled"
    assert begun.is_set() is running
    assert_settled(db)


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_process_that_ends_leaves_its_tools_to_the_next(
    worker: Make, runner: Make, db: Database, aside: ThreadPoolExecutor, idempotent: bool
) -> None:
    """A restart is no cancellation: what may run again does, and gets what its first run had asked for."""

    def build(ctx: Any, _: Mapping[str, Any]) -> str:
        return str(ctx.sandbox.bash("make"))

    w, r = building(worker, build, idempotent=idempotent), runner()
    other = building(worker, build, idempotent=idempotent)
    other.model.script = []
    thread = w.say().thread_id
    working = aside.submit(w.advance, thread)
    wait_until(lambda: rows(db, CHILDREN) != [])
    w.draining.set()
    w.keeper.stop_all()
    working.result(20)
    assert value(db, "SELECT lease_owner FROM thread") is None
    working = aside.submit(other.advance, thread)
    run_until(r, working.done)
    if idempotent:
        assert told(other) == ["make"]
        assert r.runtime.opened[0].lines == ["make"]
    else:
        assert "nobody knows whether it took effect" in told(other)[0]
    pump(other, r)
    assert_settled(db)


def test_history_does_not_show_what_tools_do_by_themselves(
    worker: Make, runner: Make, db: Database, aside: ThreadPoolExecutor
) -> None:
    def build(ctx: Any, _: Mapping[str, Any]) -> str:
        ctx.sandbox.bash("login --token 4711")
        return "built"

    w, r = building(worker, build), runner()
    working = aside.submit(w.advance, w.say().thread_id)
    run_until(r, working.done)
    w.model.script = [[call("history", query="4711")]]
    w.say()
    pump(w, r)
    assert told(w) == ["Nothing was found."]


def test_a_command_that_no_runner_takes_is_given_up(worker: Make, db: Database) -> None:
    """It held a thread of the worker; and once given up, it must not run after all."""

    def build(ctx: Any, _: Mapping[str, Any]) -> str:
        bench = replace(ctx.sandbox.bench, patience=0.05)
        with pytest.raises(Permanent, match="heyfleet status"):
            bench.at(UUID(ctx.idempotency_key)).bash("make")
        return "no runner"

    w = building(worker, build)
    w.advance(w.say().thread_id)
    assert told(w) == ["no runner"]
    assert rows(db, CHILDREN) == [("bash", "cancelled", None)]
