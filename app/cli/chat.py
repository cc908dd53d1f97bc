"""`heyfleet chat`: a conversation in the terminal, through the same rows as every other adapter's."""

from __future__ import annotations

import getpass
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Annotated, Any, Literal
from uuid import UUID

import redis
import typer
from redis.exceptions import RedisError
from sqlalchemy import Row

from app import approvals, questions, tracing
from app.bootstrap import DRAFTS, Core, desk_of
from app.cli.context import connected
from app.cli.news import News, prompting
from app.config.adapters import LocalAdapter
from app.control.commands import parse
from app.control.desk import Order, answer, cancel
from app.control.obey import obey_at_once, told
from app.errors import Refused
from app.inbox import Accepted, accept
from app.policy.people import Person, may_enter
from app.traffic import Inbound

LOOK_EVERY = 0.1
SLOW_AFTER = 15.0

CALLS = """
    SELECT id, tool, args, state FROM call WHERE turn_id = :turn AND parent_id IS NULL ORDER BY created_at, ordinal"""
ENDED = """
    SELECT coalesce(host.id, turn.id) AS id, coalesce(host.state, turn.state) AS state,
        coalesce(host.answer, turn.answer) AS answer
    FROM turn LEFT JOIN turn AS host ON host.id = turn.absorbed_by WHERE turn.id = :turn"""
FINAL = ("done", "failed", "cancelled")
UNSHOWN_CALLS = ("queued", "running", "awaiting_approval")


def chat(
    context: typer.Context,
    message: Annotated[str | None, typer.Argument(help="Say this one thing, print the answer, and end.")] = None,
    thread: Annotated[str, typer.Option(help="A name of yours for the conversation: it goes on where it was.")] = "",
    adapter: Annotated[str, typer.Option(help="The local adapter, where there are several.")] = "",
    follow: Annotated[bool, typer.Option(help="Say nothing; show what is said in the thread until Ctrl-C.")] = False,
) -> None:
    """Talk with an agent. Ctrl-C stops its answer, Ctrl-D ends the chat."""
    if follow and (message is not None or not thread):
        raise Refused("--follow shows what is said in a thread: name it with --thread, and leave the message out")
    with connected(context) as core:
        tracing.begin(core.settings.tracing, "cli")
        talk = Talk(core, local_adapter(core, adapter), thread or f"chat-{secrets.token_hex(4)}")
        if message is not None:
            talk.answer(talk.say(message))
            return
        news = News(core, talk.adapter.name, talk.key, talk.own)
        if follow:
            with suppress(KeyboardInterrupt):
                news.follow()
            return
        sys.stdout.write(
            f"Talking with {talk.adapter.agent}, thread {talk.key}. Ctrl-C stops an answer, Ctrl-D ends.\n"
        )
        with prompting(news) if sys.stdin.isatty() else nullcontext(input) as ask:
            for text in lines(ask):
                talk.answer(talk.say(text))


def local_adapter(core: Core, name: str) -> LocalAdapter:
    found = [a for a in core.settings.adapters if isinstance(a, LocalAdapter) and name in ("", a.name)]
    if not found:
        raise Refused("the configuration has no such local adapter: add {kind: local, name: local} to adapters")
    return found[0]


def lines(ask: Callable[[str], str]) -> Iterator[str]:
    """What the user types, until the end of the input."""
    while True:
        try:
            text = ask("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            return
        if text.strip():
            yield text


class Talk:
    """One conversation with one agent."""

    def __init__(self, core: Core, adapter: LocalAdapter, key: str) -> None:
        self.core = core
        self.adapter = adapter
        self.key = key
        self.user = getpass.getuser()
        self.own: set[UUID] = set()
        """Turns that were asked for here."""
        self.order = Order(Person(self.user), adapter.name, adapter.name)
        why = may_enter(self.order.person, adapter.allow)
        if why is not None:
            raise Refused(f"{why}: add them to allow.users of adapter {adapter.name}", status=403)

    def say(self, text: str) -> Accepted:
        """Have a message accepted, or a control command carried out."""
        command = parse(text)
        inbound = Inbound(
            self.adapter.agent,
            self.adapter.name,
            self.key,
            self.key,
            self.user,
            text,
            event_key=secrets.token_hex(16),
            command=command.text if command else None,
        )
        reject = command is None and self.core.settings.task.busy == "reject"
        with tracing.entrance(f"receive {self.adapter.name}", {"heyfleet.adapter": self.adapter.name}):
            accepted = accept(self.core.db, inbound, reject_busy=reject)
            self.own.add(accepted.turn_id)
            if command is not None and command.at_once:
                obey_at_once(desk_of(self.core), self.order, command, inbound, accepted)
            else:
                self.core.wakes.thread(accepted.thread_id)
        return accepted

    def answer(self, accepted: Accepted) -> None:
        """Show what comes until the turn has ended; Ctrl-C cancels it."""
        screen = Screen()
        with drafts(self.core, accepted.turn_id) as draft:
            while True:
                try:
                    if self.follow(accepted.turn_id, screen, draft):
                        return
                    time.sleep(LOOK_EVERY)  # rows tell nobody that they changed, so they are looked at again
                except KeyboardInterrupt:
                    if not self.stop(accepted.turn_id):
                        return

    def stop(self, turn: UUID) -> bool:
        """Cancel the turn; False where there is nothing left to wait for."""
        try:
            if cancel(desk_of(self.core), self.order, turn) is not None:
                return True
            sys.stderr.write("\n(the answer is being cancelled already; not waiting for it)\n")
        except Refused as error:
            sys.stderr.write(f"\n({error.message}; not waiting for the answer)\n")
        return False

    def follow(self, turn: UUID, screen: Screen, draft: Any) -> bool:
        """Show what is new, and ask what is to be approved. True once the turn has ended."""
        # Calls first: what is said of their results would otherwise stand before and behind them.
        for call in self.core.db.rows(CALLS, turn=turn):
            screen.call(call.id, call.tool, call.args, call.state)
        for text in draft():
            screen.draft(text)
        row = self.core.db.rows(ENDED, turn=turn)[0]
        if row.state in FINAL:
            screen.final(row.answer or "")
            return True
        if row.state == "waiting":
            for asked in approvals.pending_of(self.core.db, row.id):
                if screen.asks(asked.id):
                    self.ask(screen, asked)
        screen.wait()
        return False

    def ask(self, screen: Screen, asked: Row[Any]) -> None:
        """Show one question and, at a terminal, have it answered in place."""
        screen.newline()
        texts = self.core.settings.messages
        reason = questions.visible("\n".join(filter(None, (asked.reason, asked.details))))
        screen.write(
            texts.approval_request.format(
                id=asked.code,
                requester=questions.visible(asked.requester),
                tool=asked.tool,
                arguments=questions.shown_arguments(asked.tool, asked.args),
                reason=reason,
                minutes=questions.minutes(asked.remaining),
            )
            + "\n"
        )
        decision = choice() if sys.stdin.isatty() else None
        if decision is None:
            screen.write(f"(waiting; from another terminal: heyfleet approvals approve {asked.code}, or deny)\n")
            return
        try:
            verb: Literal["approve", "deny"] = "deny" if decision == "n" else "approve"
            found = answer(desk_of(self.core), self.order, asked.code, verb, bypass=decision == "b")
            screen.write(told(desk_of(self.core), found) + "\n")
        except Refused as error:
            screen.write(texts.not_permitted.format(reason=error.message) + "\n")


def choice() -> str | None:
    """`y`, `n` or `b`; None for the end of the input."""
    while True:
        try:
            text = input("[y]es, [n]o, or yes and a [b]ypass: ").strip().lower()
        except EOFError:
            sys.stdout.write("\n")
            return None
        if text[:1] in ("y", "n", "b"):
            return text[0]


class Screen:
    """What of one answer is on the terminal already."""

    def __init__(self) -> None:
        self.shown = ""
        self.calls: set[UUID] = set()
        self.asked: set[UUID] = set()
        self.started = time.monotonic()
        self.told = False

    def draft(self, text: str) -> None:
        """More of the text. What does not go on from what is shown stands on a line of its own."""
        if not sys.stdout.isatty():
            return
        if not text.startswith(self.shown):
            self.newline()
        self.write(text[len(self.shown) :])
        self.shown = text

    def call(self, call: UUID, tool: str, args: dict[str, Any], state: str) -> None:
        if call in self.calls or state in UNSHOWN_CALLS:
            return
        self.calls.add(call)
        self.newline()
        told = " ".join(str(value) for value in args.values())
        self.write(f"  · {tool} {' '.join(told.split())[:100]} ({state})\n")

    def asks(self, approval: UUID) -> bool:
        """Whether it was not shown before."""
        new = approval not in self.asked
        self.asked.add(approval)
        self.told = self.told or new  # there is no answer yet, and everybody knows why
        return new

    def final(self, text: str) -> None:
        if not text.startswith(self.shown):
            self.newline()
        self.write(text[len(self.shown) :] + "\n")

    def wait(self) -> None:
        if not self.told and time.monotonic() - self.started > SLOW_AFTER:
            self.told = True
            sys.stderr.write("(no answer yet: heyfleet status shows whether a worker and a runner are running)\n")

    def newline(self) -> None:
        if self.shown and not self.shown.endswith("\n"):
            self.write("\n")
        self.shown = ""

    def write(self, text: str) -> None:
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
