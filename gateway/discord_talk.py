"""What is said over one connection of a Discord shard: greeting, heartbeats, events, and what is done about each."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2 as httpx
import structlog
from websockets.sync.client import ClientConnection

from app.adapters.discord import DiscordAdapter
from app.adapters.discord.api import Refusal
from app.bootstrap import Core, desk_of
from app.entry import enter
from app.errors import LeaseLost, Unavailable
from app.leases import Lease
from gateway.patience import Patience

log = structlog.get_logger()

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11
"""https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-opcodes"""
INTENTS = 1 << 0 | 1 << 9 | 1 << 12 | 1 << 15
"""Guilds, their messages, direct messages, and what the messages say."""
RESUMABLE = 4000
"""Closed with this by us, a session stays; 1000 and 1001 end it."""
SAVE_EVERY = 1.0
IDENTIFY_AGAIN_AFTER = 5.0
AGAIN_AFTER = 2.0
"""Seconds until an event that could not be taken in is tried again."""
HELLO_WITHIN = 20.0
READY_WITHIN = 60.0
"""Seconds: what says nothing is dead, however well it is connected."""


@dataclass(slots=True)
class Session:
    """Where we are in what Discord tells."""

    id: str = ""
    url: str = ""
    seq: int = 0

    @property
    def begun(self) -> bool:
        return bool(self.id)


class Shard(Protocol):
    """Whose connection it is."""

    core: Core
    adapter: DiscordAdapter
    shard: int
    role: str
    patience: Patience

    def reached(self) -> None:
        """Discord greeted us."""
        ...

    def held(self) -> None:
        """Something came over the connection and was taken in."""
        ...

    def register(self) -> None:
        """Tell Discord of the command."""
        ...

    def save(self, session: Session, lease: Lease) -> None:
        """For whoever leads next. Raises LeaseLost."""
        ...


class Talk:
    """What is said over one connection."""

    def __init__(
        self,
        shard: Shard,
        socket: ClientConnection,
        session: Session,
        lease: Lease,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shard = shard
        self.adapter = shard.adapter
        self.socket = socket
        self.session = session
        self.lease = lease
        self._clock = clock
        self._saved_at = clock()
        self._saved_seq = session.seq
        self._beat_every = 0.0
        self._next_beat = 0.0
        self._answered = True
        self._waits_until: float | None = clock() + HELLO_WITHIN
        """For what comes next of a connection's beginning; None: it has begun."""

    def listen(self) -> None:
        """Until the connection is to be left. Raises ConnectionClosed, LeaseLost and Unavailable."""
        try:
            while self.hear() and not self.lease.is_set():
                self.save_now_and_then()
            if not self.lease.lost:
                self.shard.save(self.session, self.lease)
        finally:
            # Whatever happened: left to itself, the library would close with the code that ends the session.
            self.socket.close(RESUMABLE)

    def hear(self) -> bool:
        """Hear one thing, or nothing for a moment. False: come anew."""
        try:
            told = json.loads(self.socket.recv(timeout=0.25))
        except TimeoutError:
            return self.is_alive() and self.beat_if_due()
        match told["op"]:
            case 10:
                self.greet(told["d"])
            case 0:
                if not self.dispatch(told):
                    return False
            case 1:
                self.tell(HEARTBEAT, self.session.seq or None)
            case 11:
                self._answered = True
            case 9 if not told["d"]:
                self.forget()
                return False
            case 7 | 9:
                return False
        return self.is_alive() and self.beat_if_due()

    def is_alive(self) -> bool:
        """Whether a connection that has not begun to tell anything may still do so."""
        if self._waits_until is None or self._clock() < self._waits_until:
            return True
        log.warning("discord_silent", role=self.shard.role, why="it greeted" if self._beat_every else "no greeting")
        return False

    def greet(self, hello: Mapping[str, Any]) -> None:
        self.shard.reached()
        self._waits_until = self._clock() + READY_WITHIN
        self._beat_every = hello["heartbeat_interval"] / 1000
        # https://discord.com/developers/docs/events/gateway#heartbeat-interval: the first one at a random time.
        self._next_beat = self._clock() + self._beat_every * random.random()
        token = self.adapter.settings.bot_token.get_secret_value()
        if self.session.begun:
            self.tell(RESUME, {"token": token, "session_id": self.session.id, "seq": self.session.seq})
            return
        properties = {"os": sys.platform, "browser": "heyfleet", "device": "heyfleet"}
        shard = [self.shard.shard, self.adapter.settings.shards]
        self.tell(IDENTIFY, {"token": token, "intents": INTENTS, "properties": properties, "shard": shard})

    def beat_if_due(self) -> bool:
        if not self._beat_every or self._clock() < self._next_beat:
            return True
        if not self._answered:
            log.warning("discord_silent", role=self.shard.role)
            return False
        self.tell(HEARTBEAT, self.session.seq or None)
        self._answered, self._next_beat = False, self._clock() + self._beat_every
        return True

    def dispatch(self, told: Mapping[str, Any]) -> bool:
        """One event; its number counts once it is committed. False: come anew, and Discord tells it again.

        Raises LeaseLost.
        """
        name, data = told["t"], told["d"]
        if name == "READY":
            self.session.seq = told["s"]
        while not self.taken_in(name, data, told["s"]):
            self.lease.wait(AGAIN_AFTER)
            # What Discord says meanwhile is not heard: after two heartbeats it counts as gone.
            if not self.beat_if_due():
                return False
        self.session.seq = told["s"]
        self._waits_until = None
        self.shard.held()
        return True

    def taken_in(self, name: str, data: Mapping[str, Any], number: int) -> bool:
        """False: to be tried again."""
        if self.lease.is_set():
            raise LeaseLost(f"{self.shard.role} was taken over")
        try:
            self.happen(name, data)
        except LeaseLost:
            raise
        except Unavailable as error:
            log.warning("event_waits", role=self.shard.role, event_name=name, error=error.message)
            return False
        except Exception:
            if self.shard.patience.again((self.session.id, number)):
                log.exception("event_waits", role=self.shard.role, event_name=name)
                return False
            # A defect of ours, or an event of a shape that nobody knows: told for ever, it would hold up all others.
            log.exception("event_left_out", role=self.shard.role, event_name=name)
        return True

    def happen(self, name: str, data: Mapping[str, Any]) -> None:
        match name:
            case "READY":
                self.session.id, self.session.url = data["session_id"], data["resume_gateway_url"]
                # At once: who takes over from here must not begin anew, and miss what was said meanwhile.
                self.shard.save(self.session, self.lease)
                log.info("discord_connected", role=self.shard.role)
                self.shard.register()
            case "RESUMED":
                self.shard.register()
            case "GUILD_CREATE":
                for channel in [*(data.get("channels") or ()), *(data.get("threads") or ())]:
                    self.adapter.knows(channel)
            case "CHANNEL_CREATE" | "THREAD_CREATE":
                self.adapter.knows(data)
            case "MESSAGE_CREATE":
                happening = self.adapter.understand(data)
                if happening is not None:
                    enter(desk_of(self.shard.core), self.adapter.settings, happening)
            case "INTERACTION_CREATE":
                self.answer(data)

    def answer(self, interaction: Mapping[str, Any]) -> None:
        """https://discord.com/developers/docs/interactions/receiving-and-responding#responding-to-an-interaction"""
        desk, settings = desk_of(self.shard.core), self.adapter.settings
        happening = self.adapter.understand_interaction(interaction)
        work = (lambda: enter(desk, settings, happening).say) if happening is not None else None
        answer, follow = self.adapter.answering.answer(interaction, work, desk.settings.messages)
        try:
            path = f"/interactions/{interaction['id']}/{interaction['token']}/callback"
            self.adapter.api.call("POST", path, answer, timeout=2.5)
        except (Refusal, httpx.HTTPError) as error:
            # It holds for three seconds; what was ordered is done all the same.
            log.warning("interaction_not_answered", role=self.shard.role, error=type(error).__name__)
        else:
            follow()

    def forget(self) -> None:
        self.session.id, self.session.url, self.session.seq = "", "", 0
        self.lease.wait(IDENTIFY_AGAIN_AFTER)

    def save_now_and_then(self) -> None:
        """Events that are told again are known by their ids: up to a second of them may be."""
        if self.session.seq != self._saved_seq and self._clock() - self._saved_at >= SAVE_EVERY:
            self.shard.save(self.session, self.lease)
            self._saved_at, self._saved_seq = self._clock(), self.session.seq

    def tell(self, op: int, data: Any) -> None:
        self.socket.send(json.dumps({"op": op, "d": data}))
