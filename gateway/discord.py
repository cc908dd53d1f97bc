"""Discord's gateway: one connection for each shard, resumed where the last one ended, whoever had it.

https://discord.com/developers/docs/events/gateway. Not discord.py: its sessions end with its process; here they
are handed on, with the place up to which everything is committed.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import structlog
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from app.adapters.discord import DiscordAdapter
from app.adapters.discord.api import Refusal
from app.adapters.discord.parse import answer_of
from app.bootstrap import Core, desk_of
from app.entry import enter
from app.errors import HeyfleetError, LeaseLost
from app.leases import Keeper, Lease
from app.roles import RoleHolder, keep, kept
from gateway.patience import Patience

log = structlog.get_logger()

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11
"""https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-opcodes"""
INTENTS = 1 << 0 | 1 << 9 | 1 << 12 | 1 << 15
"""Guilds, their messages, direct messages, and what the messages say."""
FATAL = {
    4004: "the token is wrong: compare bot_token with the application's page",
    4010: "the shard is wrong",
    4011: "the bot is in so many guilds that it needs more shards: raise shards",
    4013: "an intent is wrong",
    4014: "an intent is not allowed: switch on Message Content Intent on the application's page, under Bot",
}
"""Coming again is of no use. https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway"""
SESSION_OVER = (4007, 4009)
RESUMABLE = 4000
"""Closed with this by us, a session stays; 1000 and 1001 end it."""
SAVE_EVERY = 1.0
IDENTIFY_AGAIN_AFTER = 5.0
FATAL_AGAIN_AFTER = 900.0
"""Discord lets a bot begin 1000 sessions a day, and takes its token away where it begins more.
https://discord.com/developers/docs/events/gateway#session-start-limit-object"""
LONGEST_PAUSE = 60.0
DIALS = 3
"""How often the address of a session is tried before it is given up, and another begun."""


@dataclass(slots=True)
class Session:
    """Where we are in what Discord tells."""

    id: str = ""
    url: str = ""
    seq: int = 0

    @property
    def begun(self) -> bool:
        return bool(self.id)


class DiscordShard:
    """One shard of one adapter, while this process leads it."""

    def __init__(self, core: Core, keeper: Keeper, adapter: DiscordAdapter, shard: int) -> None:
        self.core = core
        self.adapter = adapter
        self.shard = shard
        self.role = f"discord {adapter.name} {shard}"
        self._holder = RoleHolder(core.db, keeper, self.role, self.connect)
        self.patience = Patience()
        self._registered = False
        self._failed = 0
        """Connections in a row that came to nothing."""

    def start(self) -> None:
        self._holder.start()

    def close(self) -> None:
        self._holder.close()

    def connect(self, lease: Lease) -> None:
        """One connection, from its beginning to its end; and a pause, the longer the more of them came to nothing."""
        self._failed += 1
        try:
            self._connect(lease)
        except ConnectionClosed as error:
            self.closed(error.rcvd.code if error.rcvd else 1006, lease)
        except (Refusal, httpx.HTTPError, WebSocketException, OSError, TimeoutError) as error:
            why = str(error) if isinstance(error, Refusal) else type(error).__name__
            log.warning("discord_not_connected", role=self.role, why=why)
        if self._failed:
            lease.wait(min(LONGEST_PAUSE, 2.0 ** (self._failed - 1)) * (0.5 + random.random() / 2))

    def _connect(self, lease: Lease) -> None:
        state = kept(self.core.db, self.role)
        session = Session(str(state.get("id") or ""), str(state.get("url") or ""), int(state.get("seq") or 0))
        if session.begun and self._failed > DIALS:
            log.warning("discord_session_given_up", role=self.role)
            session = Session()
            self.save(session, lease)
        self.register()
        url = session.url if session.begun else str(self.adapter.api.call("GET", "/gateway/bot")["url"])
        with connect(f"{url}/?v=10&encoding=json", max_size=None, open_timeout=10, close_timeout=1) as socket:
            Talk(self, socket, session, lease).listen()

    def held(self) -> None:
        """The connection came to something."""
        self._failed = 0

    def closed(self, code: int, lease: Lease) -> None:
        """Discord ended it."""
        log.info("discord_disconnected", role=self.role, code=code)
        if code in SESSION_OVER or code in FATAL:
            self.save(Session(), lease)
        if code in FATAL:
            log.error("discord_refuses", role=self.role, why=FATAL[code])
            lease.wait(FATAL_AGAIN_AFTER)

    def save(self, session: Session, lease: Lease) -> None:
        """For whoever leads next. Raises LeaseLost."""
        state = {"id": session.id, "url": session.url, "seq": session.seq} if session.begun else {}
        keep(self.core.db, self.role, lease, state)

    def register(self) -> None:
        """The command that people find when they type a slash. Overwritten with the same, it stays as it is.
        https://discord.com/developers/docs/interactions/application-commands#bulk-overwrite-global-application-commands"""
        if self._registered or self.shard:
            return
        option = {"type": 3, "name": "command", "description": "status, approvals, approve ID …", "required": True}
        command = {
            "name": self.adapter.settings.command,
            "description": "Orders to the agent's fleet",
            "options": [option],
        }
        try:
            self.adapter.api.call("PUT", f"/applications/{self.adapter.me().application}/commands", [command])
        except (Refusal, httpx.HTTPError) as error:
            # People can do without it, and can't without the rest. Tried again with the next connection.
            why = str(error) if isinstance(error, Refusal) else type(error).__name__
            log.warning("command_not_registered", adapter=self.adapter.name, why=why)
        else:
            self._registered = True


class Talk:
    """What is said over one connection."""

    def __init__(self, shard: DiscordShard, socket: ClientConnection, session: Session, lease: Lease) -> None:
        self.shard = shard
        self.adapter = shard.adapter
        self.socket = socket
        self.session = session
        self.lease = lease
        self._saved_at = time.monotonic()
        self._saved_seq = session.seq
        self._beat_every = 0.0
        self._next_beat = 0.0
        self._answered = True

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
            return self.beat_if_due()
        match told["op"]:
            case 10:
                self.greet(told["d"])
            case 0:
                self.dispatch(told)
            case 1:
                self.tell(HEARTBEAT, self.session.seq or None)
            case 11:
                self._answered = True
            case 9 if not told["d"]:
                self.forget()
                return False
            case 7 | 9:
                return False
        return self.beat_if_due()

    def greet(self, hello: Mapping[str, Any]) -> None:
        self._beat_every = hello["heartbeat_interval"] / 1000
        # https://discord.com/developers/docs/events/gateway#heartbeat-interval: the first one at a random time.
        self._next_beat = time.monotonic() + self._beat_every * random.random()
        token = self.adapter.settings.bot_token.get_secret_value()
        if self.session.begun:
            self.tell(RESUME, {"token": token, "session_id": self.session.id, "seq": self.session.seq})
            return
        properties = {"os": sys.platform, "browser": "heyfleet", "device": "heyfleet"}
        shard = [self.shard.shard, self.adapter.settings.shards]
        self.tell(IDENTIFY, {"token": token, "intents": INTENTS, "properties": properties, "shard": shard})

    def beat_if_due(self) -> bool:
        if not self._beat_every or time.monotonic() < self._next_beat:
            return True
        if not self._answered:
            log.warning("discord_silent", role=self.shard.role)
            return False
        self.tell(HEARTBEAT, self.session.seq or None)
        self._answered, self._next_beat = False, time.monotonic() + self._beat_every
        return True

    def dispatch(self, told: Mapping[str, Any]) -> None:
        """One event; its number counts once it is committed. Raises Unavailable: then Discord tells it again."""
        if self.lease.is_set():
            raise LeaseLost(f"{self.shard.role} was taken over")
        name, data = told["t"], told["d"]
        if name == "READY":
            self.session.seq = told["s"]
        try:
            self.happen(name, data)
        except HeyfleetError:
            raise
        except Exception:
            if self.shard.patience.again((self.session.id, told["s"])):
                raise
            # A defect of ours, or an event of a shape that nobody knows: told for ever, it would hold up all others.
            log.exception("event_left_out", role=self.shard.role, event_name=name)
        self.session.seq = told["s"]

    def happen(self, name: str, data: Mapping[str, Any]) -> None:
        match name:
            case "READY":
                self.session.id, self.session.url = data["session_id"], data["resume_gateway_url"]
                self.shard.held()
                # At once: who takes over from here must not begin anew, and miss what was said meanwhile.
                self.shard.save(self.session, self.lease)
                log.info("discord_connected", role=self.shard.role)
            case "RESUMED":
                self.shard.held()
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
        desk, say = desk_of(self.shard.core), ""
        happening = self.adapter.understand_interaction(interaction)
        if happening is not None:
            say = enter(desk, self.adapter.settings, happening).say
        answer = answer_of(interaction, say, desk.settings.messages.taken)
        try:
            path = f"/interactions/{interaction['id']}/{interaction['token']}/callback"
            self.adapter.api.call("POST", path, answer, timeout=2.5)
        except (Refusal, httpx.HTTPError) as error:
            # It holds for three seconds; what was ordered is done all the same.
            log.warning("interaction_not_answered", role=self.shard.role, error=type(error).__name__)

    def forget(self) -> None:
        self.session.id, self.session.url, self.session.seq = "", "", 0
        self.lease.wait(IDENTIFY_AGAIN_AFTER)

    def save_now_and_then(self) -> None:
        """Events that are told again are known by their ids: up to a second of them may be."""
        if self.session.seq != self._saved_seq and time.monotonic() - self._saved_at >= SAVE_EVERY:
            self.shard.save(self.session, self.lease)
            self._saved_at, self._saved_seq = time.monotonic(), self.session.seq

    def tell(self, op: int, data: Any) -> None:
        self.socket.send(json.dumps({"op": op, "d": data}))
