"""The messages of a chaos run: planned from a seed, posted until they are accepted, answered by callbacks."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import Callbacks
from bench.wire import NO_CONTENT, Client, answer_with

CONNECTIONS = 100
ANSWER_WITHIN = 10.0
MOST_PAUSE = 1.0

RECEIVERS = ("ok",) * 16 + ("flaky", "flaky", "drop", "gone")
"""What the receiver of a thread's callbacks does: takes them; refuses each once; takes each and hangs up, once; refuses
them for good."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One message, before it is sent."""

    number: int
    due: float
    """Seconds from the beginning."""
    thread: int
    receiver: str
    copies: int
    """How many times it is posted at once, each to another web."""
    text: str
    line: str | None
    """What its command adds to the counter file, where it has one."""

    @property
    def event(self) -> str:
        return f"event-{self.number:06d}"

    @property
    def mark(self) -> str:
        return mark(self.number)


def mark(number: int) -> str:
    """What a message's text is known by, in transcripts too."""
    return f"msg-{number:06d}"


def plan(messages: int, seconds: float, seed: int, counter: Path) -> list[Planned]:
    """All messages: two thirds in threads of their own, the rest in busy threads of up to ten close together."""
    chance = random.Random(seed)
    planned: list[Planned] = []
    thread = 0
    while len(planned) < messages:
        due = chance.uniform(0, seconds)
        receiver = chance.choice(RECEIVERS)
        many = chance.randint(3, 10) if chance.random() < 0.08 else 1
        for _ in range(min(many, messages - len(planned))):
            planned.append(message(chance, len(planned), due, thread, receiver, counter))
            due += chance.choice((0.0, 0.05, 0.3, 1.0)) * chance.random()
        thread += 1
    return sorted(planned, key=lambda one: one.due)


def message(chance: random.Random, number: int, due: float, thread: int, receiver: str, counter: Path) -> Planned:
    # Mostly quick, and now and then so slow that a kill finds the model still thinking.
    wait = chance.choice((0, 20, 100, 300, 300, 600, 1500, 3000)) * (0.5 + chance.random())
    directives = [f"first_token_ms={wait:.0f}"]
    line = None
    if chance.random() < 0.35:
        line = f"line-{number:06d}"
        pause = chance.choice(("", "", "; sleep 0.3", "; sleep 1", "; sleep 2"))
        directives.append(f'tools=1 command="echo {line} >> {counter}{pause}"')
    copies = chance.randint(2, 4) if chance.random() < 0.25 else 1
    text = f"{mark(number)} [[{' '.join(directives)}]]"
    return Planned(number, due, thread, receiver, copies, text, line)


@dataclass
class Traffic:
    """Posts the plan from a thread of its own, so that the main thread can do harm meanwhile."""

    planned: Sequence[Planned]
    ports: Sequence[int]
    secret: str
    seed: int
    runs: dict[str, set[str]] = field(default_factory=dict)
    """The runs that an event's posts were answered with: one each, or something is wrong."""
    refused: list[str] = field(default_factory=list)
    posts: Counter[str] = field(default_factory=Counter)
    """How posts were answered, by status or kind of failure."""
    callbacks: Callbacks = field(init=False)
    order: list[str] = field(default_factory=list)
    """Delivery ids in the order in which each was first taken."""
    seen: Counter[str] = field(default_factory=Counter)
    """How often each delivery id was posted to us."""
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.callbacks = Callbacks(self.secret.encode(), behave=self.answer)
        self._threads: dict[int, asyncio.Future[str]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._stop: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop()
        self._thread.join(10)

    def wait(self, seconds: float) -> bool:
        """Whether every message was accepted (or refused) by then."""
        return self._ended.wait(seconds)

    def answer(self, path: str, delivery: str) -> bytes | None:
        """What the receiver answers, by the plan that is the last part of the path."""
        self.seen[delivery] += 1
        first = self.seen[delivery] == 1
        match path.rpartition("/")[2]:
            case "gone":
                return answer_with(410)
            case "flaky" if first:
                return answer_with(500)
            case "drop" if first:
                self.order.append(delivery)
                return None
            case "ok" if first:
                self.order.append(delivery)
            case "flaky" if self.seen[delivery] == 2:
                self.order.append(delivery)
        return NO_CONTENT

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except asyncio.CancelledError:
            return
        except BaseException as error:
            self.failure = error
            self._ended.set()

    async def _all(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)  # type: ignore[assignment]
        server = await self.callbacks.listen()
        client = Client(CONNECTIONS, ANSWER_WITHIN)
        posting = asyncio.ensure_future(self._post_all(client))
        posting.add_done_callback(lambda _: self._ended.set())
        # Callbacks are taken for as long as the run lasts.
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait({waiting, posting}, return_when=asyncio.FIRST_EXCEPTION)
        if posting.done() and not posting.cancelled():
            self.failure = posting.exception()
        await waiting
        posting.cancel()
        client.close()
        server.close()

    async def _post_all(self, client: Client) -> None:
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for planned in self.planned:
                await asyncio.sleep(max(0.0, started + planned.due - time.monotonic()))
                group.create_task(self._message(client, planned))

    async def _message(self, client: Client, planned: Planned) -> None:
        loop = asyncio.get_running_loop()
        known = self._threads.get(planned.thread)
        if known is None:
            self._threads[planned.thread] = loop.create_future()
        # Only who has been answered knows what thread to go on with.
        path = f"/webhook/internal/threads/{await known}/messages" if known else "/webhook/internal"
        url = f"{self.callbacks.url}/{planned.receiver}"
        body = {"user": "ada", "text": planned.text, "eventId": planned.event, "replyUrl": url}
        raw = json.dumps(body).encode()
        copies = [self._until_accepted(client, planned, path, raw, n) for n in range(planned.copies)]
        threads = {thread for thread in await asyncio.gather(*copies) if thread}
        if known is None and threads:
            self._threads[planned.thread].set_result(threads.pop())

    async def _until_accepted(self, client: Client, planned: Planned, path: str, raw: bytes, copy: int) -> str | None:
        """Post until it was answered 2xx; the thread it is in. What is refused for good is noted."""
        chance = random.Random(f"{self.seed} {planned.number} {copy}")
        headers = f"Authorization: Bearer {self.secret}\r\n".encode()
        turn = planned.number + copy
        while True:
            port = self.ports[turn % len(self.ports)]
            turn += 1
            try:
                answer = await client.post(port, path, raw, headers)
            except (OSError, TimeoutError) as error:
                self.posts[type(error).__name__] += 1
            else:
                self.posts[str(answer.status)] += 1
                if answer.status in (200, 202):
                    said = json.loads(answer.body)
                    self.runs.setdefault(planned.event, set()).add(said["runId"])
                    return str(said["threadId"])
                if answer.status not in (429, 500, 502, 503, 504):
                    self.refused.append(f"{planned.event}: HTTP {answer.status} {answer.body[:200]!r}")
                    return None
            await asyncio.sleep(chance.uniform(0.05, MOST_PAUSE))
