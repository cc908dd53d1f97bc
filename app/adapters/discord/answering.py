"""Answering what people order and press: at once where that is done in time, else in two steps.

Discord waits three seconds for an answer, and then shows its sender that the app failed. What takes longer is answered
with "it is being worked on", and what came of it is written into that answer. Both need the interaction's token, which
is in this process's memory for as long as that takes, and nowhere else.
https://discord.com/developers/docs/interactions/receiving-and-responding
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import httpx2 as httpx
import structlog

from app.adapters.discord.api import Api, Refusal
from app.adapters.discord.parse import COMMAND, ONLY_FOR_THEM, QUIETLY, answer_of, shown_to_them
from app.config.messages import Messages
from app.errors import HeyfleetError

log = structlog.get_logger()

IN_TIME = 1.5
"""Seconds: of three, the way to us and back takes some."""
AT_ONCE = 8
LATER = 5
"""The answer that another one follows."""

Work = Callable[[], str]
"""Does what was ordered; what its sender alone is to be told."""


class Answering:
    """Of one adapter in one process; used from many threads."""

    def __init__(self, api: Api, in_time: float = IN_TIME) -> None:
        self.api = api
        self.in_time = in_time
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def answer(
        self, interaction: Mapping[str, Any], work: Work | None, texts: Messages
    ) -> tuple[dict[str, Any], Callable[[], None]]:
        """What to answer with now, and what to call once Discord has that. Raises what `work` raises in time: then the
        order may be told again.

        What was put off is not committed yet: should this process be killed before it is, nobody does it.
        """
        if work is None:
            return answer_of(interaction, "", texts.taken), nothing
        doing = self._threads().submit(work)
        wait([doing], timeout=self.in_time)
        if doing.done():
            return answer_of(interaction, doing.result(), texts.taken), nothing
        later: dict[str, Any] = {"type": QUIETLY}
        if interaction.get("type") == COMMAND:
            later = {"type": LATER, "data": {"flags": ONLY_FOR_THEM}}
        return later, lambda: doing.add_done_callback(lambda done: self._say(interaction, done, texts))

    def _say(self, interaction: Mapping[str, Any], done: Future[str], texts: Messages) -> None:
        """Best effort: the token holds for a quarter of an hour, and what was ordered is done all the same."""
        text = outcome_of(done, texts)
        path = f"/webhooks/{interaction['application_id']}/{interaction['token']}"
        try:
            if interaction.get("type") == COMMAND:
                self.api.call("PATCH", f"{path}/messages/@original", shown_to_them(text or texts.taken))
            elif text:
                self.api.call("POST", path, {**shown_to_them(text), "flags": ONLY_FOR_THEM})
        except (Refusal, httpx.HTTPError) as error:
            log.warning("outcome_not_said", error=type(error).__name__)

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(AT_ONCE, "discord-orders")
            return self._pool


def nothing() -> None:
    """All is said."""


def outcome_of(done: Future[str], texts: Messages) -> str:
    error = done.exception()
    if error is None:
        return done.result()
    if isinstance(error, HeyfleetError):
        return texts.failed.format(reason=error.message)
    log.error("order_failed", exc_info=error)
    return texts.failed.format(reason="an internal error")
