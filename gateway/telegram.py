"""Polling Telegram: one process of the fleet asks, since Telegram lets one. https://core.telegram.org/bots/api#getupdates"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx2 as httpx
import structlog

from app.adapters.telegram import TelegramAdapter
from app.adapters.telegram.api import Refusal
from app.adapters.telegram.menu import set_menu
from app.adapters.telegram.parse import UPDATES
from app.bootstrap import Core, desk_of
from app.entry import enter
from app.errors import Transient, Unavailable
from app.leases import Keeper, Lease
from app.roles import RoleHolder
from gateway.patience import Patience

log = structlog.get_logger()

LONGEST_POLL = 5
"""Seconds: whoever is told to stop ends with its poll."""
MARGIN = 0.2
"""The share of the lease's time that is left when a poll ends: whoever takes over must not meet it."""
AGAIN_AFTER = 2.0
MENU_SECONDS = 2.0


class TelegramPoller:
    """Asks for updates while this process leads. Telegram keeps what was not confirmed, and an update that is accepted
    twice is one turn: so whoever takes over simply asks."""

    def __init__(self, core: Core, keeper: Keeper, adapter: TelegramAdapter) -> None:
        self.core = core
        self.adapter = adapter
        self._next: int | None = None
        self._menu_is_set = False
        self._led_under: Lease | None = None
        self._ttl = keeper.ttl
        self._patience = Patience()
        self._holder = RoleHolder(core.db, keeper, f"telegram {adapter.name}", self.poll)

    def start(self) -> None:
        self._holder.start()

    def stop(self) -> None:
        self._holder.stop()

    def close(self) -> None:
        self._holder.close()

    def problem(self) -> str | None:
        return self._holder.problem()

    def poll(self, lease: Lease) -> None:
        """Ask once, and take in what came. Raises Transient."""
        if lease is not self._led_under:
            self._led_under = lease
            self.show_menu()
        margin = self._ttl * MARGIN
        seconds = min(LONGEST_POLL, int(lease.deadline - time.monotonic() - margin))
        if seconds < 1:
            lease.wait(0.2)
            return
        params = {"offset": self._next, "timeout": seconds, "allowed_updates": list(UPDATES)}
        try:
            updates = self.adapter.api.call("getUpdates", params, timeout=patience(seconds, margin))
        except (Refusal, httpx.HTTPError) as error:
            self._next = None
            raise Transient(f"Telegram gives no updates: {told(error)}") from error
        for update in updates:
            # What is not ours to take in any more is the next leader's: unconfirmed, Telegram gives it again.
            if lease.is_set() or not self.take_in(update, lease):
                return
            # Confirmed with the next question, once it is committed.
            self._next = int(update["update_id"]) + 1

    def show_menu(self) -> None:
        """Once for each process; where it fails, again when this one next begins to lead."""
        if self._menu_is_set:
            return
        try:
            set_menu(self.adapter.api, self.adapter.settings.command, MENU_SECONDS)
        except (Refusal, httpx.HTTPError) as error:
            # People can type what is not in the menu.
            log.warning("menu_not_set", adapter=self.adapter.name, error=told(error))
        else:
            self._menu_is_set = True

    def take_in(self, update: Mapping[str, Any], lease: Lease) -> bool:
        """False where it has to be tried again."""
        say = ""
        try:
            happening = self.adapter.understand(update)
            if happening is not None:
                say = enter(desk_of(self.core), self.adapter.settings, happening).say
        except Unavailable as error:
            log.warning("update_waits", adapter=self.adapter.name, error=error.message)
            lease.wait(AGAIN_AFTER)
            return False
        except Exception:
            if self._patience.again(update.get("update_id")):
                log.exception("update_waits", adapter=self.adapter.name, update=update.get("update_id"))
                lease.wait(AGAIN_AFTER)
                return False
            # A defect of ours: asked for again and again, it would hold up everything behind it.
            log.exception("update_left_out", adapter=self.adapter.name, update=update.get("update_id"))
        if "callback_query" in update:
            self.adapter.notice(str(update["callback_query"].get("id") or ""), say)
        return True


def patience(seconds: float, margin: float) -> httpx.Timeout:
    """Of a poll. Each of its parts has a time of its own, and all of them together end before the lease does."""
    return httpx.Timeout(seconds + margin / 2, connect=margin / 4, write=margin / 8, pool=margin / 16)


def told(error: Exception) -> str:
    """Without the URL, which has the token in it."""
    match error:
        case Refusal(code=409) if "webhook" in error.description:
            return "a webhook is set; run heyfleet telegram delete-webhook, or set mode: webhook"
        case Refusal(code=409):
            return "somebody else polls with this bot's token: another fleet, or a program of its own"
        case Refusal():
            return str(error)
        case _:
            return type(error).__name__
