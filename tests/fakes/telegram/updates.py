"""The updates that the bot has not confirmed yet: https://core.telegram.org/bots/api#getting-updates."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

from tests.fakes.telegram.model import Message, Update
from tests.fakes.telegram.parameters import Parameters
from tests.fakes.telegram.refusals import conflict

_KINDS = """message edited_message channel_post edited_channel_post business_connection business_message
edited_business_message deleted_business_messages message_reaction message_reaction_count inline_query
chosen_inline_result callback_query shipping_query pre_checkout_query purchased_paid_media poll poll_answer
my_chat_member chat_member chat_join_request chat_boost removed_chat_boost"""
KINDS = frozenset(_KINDS.split())
# These one must ask for by name: https://core.telegram.org/bots/api#getupdates.
NOT_BY_DEFAULT = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
LONGEST_POLL = 50
OTHER_POLLER = "terminated by other getUpdates request; make sure that only one bot instance is running"
WEBHOOK_IS_SET = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"


class Updates:
    def __init__(self, lock: threading.RLock, closing: threading.Event, problems: list[str]) -> None:
        self.changed = threading.Condition(lock)
        self.pending: list[Update] = []
        self.allowed: frozenset[str] = KINDS - NOT_BY_DEFAULT
        self.conflicts = 0
        """How often a poller was told that it is not the only one."""
        self.webhook_url = ""
        self.waiting = 0
        """How many pollers wait right now."""
        self._closing = closing
        self._problems = problems
        self._ids = itertools.count(830_000_001)
        self._turn = 0
        self._end = OTHER_POLLER

    def add(self, kind: str, body: dict[str, Any], queue: str, message: Message | None, given: bool = True) -> Update:
        """`allowed_updates` counts at the time when something happens, not when it is asked for."""
        given = given and kind in self.allowed
        update = Update(next(self._ids) if given else 0, kind, body, queue, message)
        if given:
            self.pending.append(update)
            self.changed.notify_all()
        return update

    def allow(self, params: Parameters) -> None:
        """Who says nothing leaves it as it is; an empty list is the default."""
        kinds = params.structure("allowed_updates", "allowed_updates")
        if not isinstance(kinds, list):
            return
        self._problems += [f"allowed_updates: there are no {kind}" for kind in kinds if kind not in KINDS]
        self.allowed = frozenset(kinds) & KINDS or KINDS - NOT_BY_DEFAULT

    def get(self, params: Parameters) -> list[dict[str, Any]]:
        """Called under the lock, which is free while this waits."""
        if self.webhook_url:
            self.conflicts += 1
            raise conflict(WEBHOOK_IS_SET)
        # https://core.telegram.org/bots/api#getupdates; out of bounds is the bound, and 50 s the longest:
        # https://github.com/tdlib/telegram-bot-api (Client.h).
        limit = params.whole("limit", 100, 1, 100)
        deadline = time.monotonic() + params.whole("timeout", 0, 0, LONGEST_POLL)
        self.allow(params)
        self._confirm(params.whole("offset"))
        self.end_poll(OTHER_POLLER)
        turn = self._turn
        self.waiting += 1
        try:
            self._wait(turn, deadline, params)
        finally:
            self.waiting -= 1
        return [update.shown() for update in self.pending[:limit]]

    def _wait(self, turn: int, deadline: float, params: Parameters) -> None:
        while not self.pending and time.monotonic() < deadline and not self._closing.is_set() and not params.gone():
            # In small steps, to see who hangs up and that the server closes: neither notifies.
            self.changed.wait(min(0.1, max(0.0, deadline - time.monotonic())))
            if turn != self._turn:
                # Nobody is told who has hung up.
                self.conflicts += not params.gone()
                raise conflict(self._end)

    def end_poll(self, why: str) -> None:
        """Whoever waits is told so."""
        self._turn += 1
        self._end = why
        self.changed.notify_all()

    def clear(self) -> None:
        self.pending.clear()

    def _confirm(self, offset: int) -> None:
        """Who asks from an update on has got all before it; a negative offset counts from the end of the queue."""
        if offset < 0:
            del self.pending[: max(0, len(self.pending) + offset)]
        elif offset > 0:
            self.pending[:] = [update for update in self.pending if update.update_id >= offset]

    def confirm(self, update: Update) -> None:
        """A webhook took it."""
        if update in self.pending:
            self.pending.remove(update)
