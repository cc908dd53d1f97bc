"""Discord's gateway: one connection for each shard, resumed where the last one ended, whoever had it.

https://discord.com/developers/docs/events/gateway. Not discord.py: its sessions end with its process; here they
are handed on, with the place up to which everything is committed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

import httpx2 as httpx
import structlog
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from app.adapters.discord import DiscordAdapter
from app.adapters.discord.api import Refusal
from app.bootstrap import Core
from app.errors import HeyfleetError
from app.leases import Keeper, Lease
from app.rate_limits import RateLimits
from app.roles import RoleHolder, keep, kept
from app.traffic import Limit
from gateway.discord_talk import INTENTS, Session, Talk
from gateway.patience import Patience

log = structlog.get_logger()

FATAL = {
    4004: "the token is wrong: compare bot_token with the application's page",
    4010: "the shard is wrong",
    4012: "the version of its gateway that we speak is not served any more: upgrade heyfleet",
    4011: "the bot is in so many guilds that it needs more shards: raise shards",
    4013: "an intent is wrong",
    4014: "an intent is not allowed: switch on Message Content Intent on the application's page, under Bot",
}
"""Coming again is of no use. https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway"""
SESSION_OVER = (4007, 4009)
FATAL_AGAIN_AFTER = 900.0
"""Discord lets a bot begin 1000 sessions a day, and takes its token away where it begins more.
https://discord.com/developers/docs/events/gateway#session-start-limit-object"""
LONGEST_PAUSE = 60.0
LONGEST_PAUSE_OF_NONE = 300.0
"""Where no session comes to be: each try may count as one that was begun."""
TOO_OFTEN = 5
"""Connections in a row that came to nothing, after which this process says so."""
DIALS = 3
"""How often the address of a session is tried before it is resumed over the general one."""
IDENTIFY_SECONDS = 5.0
"""https://discord.com/developers/docs/events/gateway#rate-limiting: one new session in so long, in each bucket."""
LONGEST_WAIT = 3600.0


class DiscordShard:
    """One shard of one adapter, while this process leads it."""

    def __init__(self, core: Core, keeper: Keeper, adapter: DiscordAdapter, shard: int) -> None:
        self.core = core
        self.adapter = adapter
        self.shard = shard
        self.role = f"discord {adapter.name} {shard}"
        self._holder = RoleHolder(core.db, keeper, self.role, self.connect)
        self.patience = Patience()
        self.limits = RateLimits(core.redis_url)
        self._registered = False
        self._failed = 0
        """Connections in a row that came to nothing."""
        self._refused = ""
        """Why Discord refuses this bot for good, as far as is known."""
        self._dials = 0
        """Of the session's own address, in a row, that nobody answered."""

    def start(self) -> None:
        self._holder.start()

    def stop(self) -> None:
        self._holder.stop()

    def close(self) -> None:
        self._holder.close()

    def problem(self) -> str | None:
        if self._refused:
            return f"{self.role}: {self._refused}"
        if self._failed >= TOO_OFTEN:
            return f"{self.role}: {self._failed} connections in a row came to nothing; the log says why"
        return self._holder.problem()

    def connect(self, lease: Lease) -> None:
        """One connection, from its beginning to its end; and a pause, the longer the more of them came to nothing."""
        self._failed += 1
        session = self.kept()
        try:
            self._connect(session, lease)
        except ConnectionClosed as error:
            self.closed(error.rcvd.code if error.rcvd else 1006, lease)
        except (Refusal, httpx.HTTPError, WebSocketException, OSError, TimeoutError) as error:
            why = str(error) if isinstance(error, Refusal) else type(error).__name__
            log.warning("discord_not_connected", role=self.role, why=why)
        if self._failed:
            longest = LONGEST_PAUSE if session.begun else LONGEST_PAUSE_OF_NONE
            lease.wait(min(longest, 2.0 ** min(self._failed - 1, 10)) * (0.5 + random.random() / 2))

    def kept(self) -> Session:
        """Where the last leader was, unless another configuration asks for another session."""
        state, settings = kept(self.core.db, self.role), self.adapter.settings
        made_for = state.get("shards", settings.shards), state.get("intents", INTENTS)
        if made_for != (settings.shards, INTENTS):
            log.warning("discord_session_given_up", role=self.role, why="shards or intents have changed")
            return Session()
        return Session(str(state.get("id") or ""), str(state.get("url") or ""), int(state.get("seq") or 0))

    def _connect(self, session: Session, lease: Lease) -> None:
        if session.begun and self._dials < DIALS:
            self._dials += 1
            url = session.url
        else:
            # Whatever is wrong with its address, a session is what is not lost: only Discord ends one.
            gateway = self.adapter.api.call("GET", "/gateway/bot")
            if not session.begun and not self.may_begin(gateway.get("session_start_limit") or {}, lease):
                return
            url = str(gateway["url"])
        with connect(f"{url}/?v=10&encoding=json", max_size=None, open_timeout=10, close_timeout=1) as socket:
            Talk(self, socket, session, lease).listen()

    def may_begin(self, limit: Mapping[str, Any], lease: Lease) -> bool:
        """Whether another session may be begun, once it is this shard's time to do so.
        https://discord.com/developers/docs/events/gateway#session-start-limit-object"""
        if limit.get("remaining") == 0:
            seconds = min(int(limit.get("reset_after") or 0) / 1000, LONGEST_WAIT)
            log.error("discord_sessions_used_up", role=self.role, seconds=seconds)
            lease.wait(seconds)
            return False
        one = Limit(f"identify {self.shard % max(1, int(limit.get('max_concurrency') or 1))}", 1, IDENTIFY_SECONDS)
        # Without Redis nobody can tell: then Discord refuses those that come too soon, and they come again.
        give_up_at = time.monotonic() + IDENTIFY_SECONDS * (self.adapter.settings.shards + 1)
        while not lease.is_set() and time.monotonic() < give_up_at:
            seconds = self.limits.take(self.adapter.name, [one])
            if not seconds:
                return True
            lease.wait(seconds)
        return not lease.is_set()

    def reached(self) -> None:
        self._dials = 0

    def held(self) -> None:
        self._failed, self._refused = 0, ""

    def closed(self, code: int, lease: Lease) -> None:
        """Discord ended it."""
        log.info("discord_disconnected", role=self.role, code=code)
        if code in SESSION_OVER or code in FATAL:
            self.save(Session(), lease)
        if code in FATAL:
            self._refused = FATAL[code]
            log.error("discord_refuses", role=self.role, why=FATAL[code])
            lease.wait(FATAL_AGAIN_AFTER)

    def save(self, session: Session, lease: Lease) -> None:
        """For whoever leads next. Raises LeaseLost."""
        state: dict[str, Any] = {}
        if session.begun:
            made_for = {"shards": self.adapter.settings.shards, "intents": INTENTS}
            state = {"id": session.id, "url": session.url, "seq": session.seq, **made_for}
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
        except (Refusal, httpx.HTTPError, HeyfleetError) as error:
            # People can do without it, and can't without the rest. Tried again with the next connection.
            why = type(error).__name__ if isinstance(error, httpx.HTTPError) else str(error)
            log.warning("command_not_registered", adapter=self.adapter.name, why=why)
        else:
            self._registered = True
