"""What comes into a conversation that nobody at this terminal asked for: what jobs say, and answers to others."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import TextIO
from uuid import UUID

from app.bootstrap import Core
from app.errors import HeyfleetError

LOOK_EVERY = 0.5

NEWEST = """
    SELECT coalesce(max(delivery.seq), 0) AS seq FROM delivery JOIN destination ON destination.id = destination_id
    WHERE destination.adapter = :adapter AND address = :address"""

SINCE = """
    SELECT delivery.seq, delivery.turn_id, delivery.body ->> 'text' AS text,
        coalesce(turn.job ->> 'name', turn.actor) AS cause
    FROM delivery JOIN destination ON destination.id = destination_id JOIN turn ON turn.id = delivery.turn_id
    WHERE destination.adapter = :adapter AND address = :address AND delivery.seq > :seq
        AND delivery.state IN ('sent', 'failed', 'ambiguous')
    ORDER BY delivery.seq"""


class News:
    """The deliveries of one conversation from now on, but for those of `own` turns, which are shown as they come."""

    def __init__(self, core: Core, adapter: str, thread: str, own: Set[UUID]) -> None:
        self.core = core
        self.place = {"adapter": adapter, "address": thread}
        self.own = own
        self.seen: int = core.db.rows(NEWEST, self.place)[0].seq

    def lines(self) -> Iterator[str]:
        """What is new, each with who or what caused it."""
        for row in self.core.db.rows(SINCE, self.place, seq=self.seen):
            self.seen = row.seq
            if row.turn_id not in self.own:
                yield f"[{row.cause}] {row.text}"

    def follow(self) -> None:
        """Write what comes, until Ctrl-C."""
        while True:
            for line in self.lines():
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            time.sleep(LOOK_EVERY)  # rows tell nobody that they came, so they are looked for


@contextmanager
def prompting(news: News) -> Iterator[Callable[[str], str]]:
    """A way to ask for a line at a terminal, above which news appear while it is waited for."""
    # A tenth of a second that the other verbs need not have.
    from prompt_toolkit import PromptSession  # noqa: PLC0415
    from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415

    session: PromptSession[str] = PromptSession(reserve_space_for_menu=0)
    waiting, ended = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_EVERY):
            if waiting.is_set():
                write(news, sys.stdout)

    def ask(prompt: str) -> str:
        with patch_stdout():
            waiting.set()
            try:
                return session.prompt(prompt)
            finally:
                waiting.clear()

    thread = threading.Thread(target=watch, name="news", daemon=True)
    thread.start()
    try:
        yield ask
    finally:
        ended.set()
        thread.join(timeout=5)


def write(news: News, out: TextIO) -> None:
    try:
        for line in news.lines():
            out.write(line + "\n")
            out.flush()
    except HeyfleetError:
        return  # Postgres is away; whoever says something is told so, and the news come later
