"""`heyfleet chat`: a conversation in the terminal, through the same rows as every other adapter's."""

from __future__ import annotations

import getpass
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

import redis
import typer
from redis.exceptions import RedisError

from app.bootstrap import DRAFTS, Core
from app.cancel import cancel
from app.cli.context import connected
from app.config.settings import LocalAdapter
from app.errors import Refused
from app.inbox import Accepted, accept
from app.ports import Inbound

LOOK_EVERY = 0.1
SLOW_AFTER = 15.0

CALLS = """
    SELECT id, tool, args, state FROM call WHERE turn_id = :turn AND parent_id IS NULL ORDER BY created_at, ordinal"""
ENDED = """
    SELECT coalesce(host.state, turn.state) AS state, coalesce(host.answer, turn.answer) AS answer
    FROM turn LEFT JOIN turn AS host ON host.id = turn.absorbed_by WHERE turn.id = :turn"""
FINAL = ("done", "failed", "cancelled")


def chat(
    context: typer.Context,
    message: Annotated[str | None, typer.Argument(help="Say this one thing, print the answer, and end.")] = None,
    thread: Annotated[str, typer.Option(help="A name of yours for the conversation: it goes on where it was.")] = "",
    adapter: Annotated[str, typer.Option(help="The local adapter, where there are several.")] = "",
) -> None:
    """Talk with an agent. Ctrl-C stops its answer, Ctrl-D ends the chat."""
    with connected(context) as core:
        local = local_adapter(core, adapter)
        key = thread or f"chat-{secrets.token_hex(4)}"
        if message is not None:
            answer(core, say(core, local, key, message))
            return
        sys.stdout.write(f"Talking with {local.agent}, thread {key}. Ctrl-C stops an answer, Ctrl-D ends.\n")
        for text in lines():
            answer(core, say(core, local, key, text))


def local_adapter(core: Core, name: str) -> LocalAdapter:
    found = [a for a in core.settings.adapters if isinstance(a, LocalAdapter) and name in ("", a.name)]
    if not found:
        raise Refused("the configuration has no such local adapter: add {kind: local, name: local} to adapters")
    return found[0]


def lines() -> Iterator[str]:
    """What the user types, until the end of the input."""
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            return
        if text.strip():
            yield text


def say(core: Core, adapter: LocalAdapter, key: str, text: str) -> Accepted:
    user = getpass.getuser()
    inbound = Inbound(adapter.agent, adapter.name, key, key, user, text, event_key=secrets.token_hex(16))
    accepted = accept(core.db, inbound, reject_busy=core.settings.task.busy == "reject")
    core.wakes.thread(accepted.thread_id)
    return accepted


def answer(core: Core, accepted: Accepted) -> None:
    """Show what comes until the turn has ended; Ctrl-C cancels it."""
    screen = Screen()
    with drafts(core, accepted.turn_id) as draft:
        while True:
            try:
                if follow(core, accepted.turn_id, screen, draft):
                    return
                time.sleep(LOOK_EVERY)  # rows tell nobody that they changed, so they are looked at again
            except KeyboardInterrupt:
                thread = cancel(core.db, accepted.turn_id, getpass.getuser())
                if thread is None:
                    sys.stderr.write("\n(the answer is being cancelled already; not waiting for it)\n")
                    return
                core.wakes.thread(thread)


def follow(core: Core, turn: UUID, screen: Screen, draft: Any) -> bool:
    """Show what is new. True once the turn has ended."""
    for text in draft():
        screen.draft(text)
    for call in core.db.rows(CALLS, turn=turn):
        screen.call(call.id, call.tool, call.args, call.state)
    row = core.db.rows(ENDED, turn=turn)[0]
    if row.state in FINAL:
        screen.final(row.answer or "")
        return True
    screen.wait()
    return False


class Screen:
    """What of one answer is on the terminal already."""

    def __init__(self) -> None:
        self.shown = ""
        self.calls: set[UUID] = set()
        self.started = time.monotonic()
        self.told = False

    def draft(self, text: str) -> None:
        """More of the text. What does not go on from what is shown stands on a line of its own."""
        if not sys.stdout.isatty():
            return
        if not text.startswith(self.shown):
            self.newline()
        self._write(text[len(self.shown) :])
        self.shown = text

    def call(self, call: UUID, tool: str, args: dict[str, Any], state: str) -> None:
        if call in self.calls or state in ("queued", "running"):
            return
        self.calls.add(call)
        self.newline()
        told = " ".join(str(value) for value in args.values())
        self._write(f"  · {tool} {' '.join(told.split())[:100]} ({state})\n")

    def final(self, text: str) -> None:
        if not text.startswith(self.shown):
            self.newline()
        self._write(text[len(self.shown) :] + "\n")

    def wait(self) -> None:
        if not self.told and time.monotonic() - self.started > SLOW_AFTER:
            self.told = True
            sys.stderr.write("(no answer yet: heyfleet status shows whether a worker and a runner are running)\n")

    def newline(self) -> None:
        if self.shown and not self.shown.endswith("\n"):
            self._write("\n")
        self.shown = ""

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def drafts(core: Core, turn: UUID) -> Iterator[Any]:
    """A function that gives the drafts that came since it was last called; none where Redis is away."""
    client = redis.Redis.from_url(core.redis_url, socket_timeout=1, decode_responses=True)
    pubsub = client.pubsub()  # type: ignore[no-untyped-call]  # redis-py has no type here

    def new() -> Iterator[str]:
        while True:
            try:
                message = pubsub.get_message(ignore_subscribe_messages=True)
            except RedisError:
                return  # the answer itself comes from Postgres
            if message is None:
                return
            yield message["data"]

    try:
        pubsub.subscribe(DRAFTS.format(turn=turn))
        yield new
    except RedisError:
        yield lambda: iter(())
    finally:
        pubsub.close()
