"""The load generator: posts messages as a caller does, and takes the callbacks in.

Each turn is a new thread unless said otherwise. A post that got no answer is repeated with the same eventId, as a
careful caller would.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.wire import NO_CONTENT, Client, header, path_of, serve

MOST_CONNECTIONS = 500
ANSWER_WITHIN = 30.0
PAUSE = 0.05
"""Seconds before a post is repeated."""


@dataclass(slots=True)
class Arrival:
    """What came back for one run."""

    at: float
    status: str
    text: str
    deliveries: list[str]
    """The delivery id of each POST that was taken, in order."""


@dataclass(slots=True)
class Callbacks:
    """The receiver: checks each signature, and keeps the first arrival of every run."""

    secret: bytes
    port: int = 0
    arrived: dict[str, Arrival] = field(default_factory=dict)
    bad: int = 0
    """Posts with a wrong signature."""
    behave: Callable[[str, str], bytes | None] = lambda path, delivery: NO_CONTENT  # noqa: ARG005
    """What a POST is answered, by its path and delivery id; None hangs up."""
    waiting: dict[str, asyncio.Future[Arrival]] = field(default_factory=dict)

    async def listen(self) -> asyncio.Server:
        server, self.port = await serve(self.take)
        return server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/callback"

    def take(self, head: bytes, body: bytes) -> bytes | None:
        if not self.signed(header(head, b"x-heyfleet-signature"), body):
            self.bad += 1
        delivery = header(head, b"x-heyfleet-delivery").decode()
        answer = self.behave(path_of(head), delivery)
        # One that we hang up on was taken all the same: its sender can't know.
        if answer is None or answer.startswith(b"HTTP/1.1 2"):
            self.note(json.loads(body), delivery)
        return answer

    def note(self, body: dict[str, str], delivery: str) -> None:
        run = body["runId"]
        known = self.arrived.get(run)
        if known is not None:
            known.deliveries.append(delivery)
            return
        arrival = Arrival(time.monotonic(), body["status"], body["text"], [delivery])
        self.arrived[run] = arrival
        waiting = self.waiting.pop(run, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(arrival)

    def signed(self, signature: bytes, body: bytes) -> bool:
        parts = dict(part.split(b"=", 1) for part in signature.split(b",") if b"=" in part)
        good = hmac.new(self.secret, parts.get(b"t", b"") + b"." + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(good.encode(), parts.get(b"v1", b""))

    async def of(self, run: str, seconds: float) -> Arrival | None:
        """The arrival of a run, waiting for it; None when it has not come within `seconds`."""
        found = self.arrived.get(run)
        if found is not None:
            return found
        future = self.waiting.setdefault(run, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return None


@dataclass(frozen=True, slots=True)
class Posted:
    """One accepted message."""

    run: str
    thread: str
    answered: float
    repeated: int
    """Posts before the one that was answered."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes."""

    ports: Sequence[int]
    client: Client
    callbacks: Callbacks
    secret: str
    adapter: str = "internal"

    async def post(self, text: str, number: int = 0) -> Posted:
        """Post until it is accepted, then say what was answered. Raises RuntimeError for an answer that is final."""
        body = {"user": "ada", "text": text, "eventId": secrets.token_hex(12), "replyUrl": self.callbacks.url}
        raw = json.dumps(body).encode()
        headers = f"Authorization: Bearer {self.secret}\r\n".encode()
        repeated = 0
        while True:
            port = self.ports[(number + repeated) % len(self.ports)]
            try:
                answer = await self.client.post(port, f"/webhook/{self.adapter}", raw, headers)
            except (OSError, TimeoutError):
                answer = None
            if answer is not None and answer.status in (200, 202):
                said = json.loads(answer.body)
                return Posted(said["runId"], said["threadId"], time.monotonic(), repeated)
            if answer is not None and answer.status not in (429, 502, 503, 504):
                raise RuntimeError(f"HTTP {answer.status}: {answer.body[:300]!r}")
            repeated += 1
            await asyncio.sleep(PAUSE)


@dataclass(slots=True)
class Load:
    """What became of a load. Times in milliseconds, from when each message was due to be sent."""

    turns: int = 0
    wall: float = 0.0
    """Seconds from the first post to the last callback."""
    ack: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    failed: int = 0
    lost: int = 0
    doubled: int = 0
    repeated: int = 0

    @property
    def per_second(self) -> float:
        return len(self.done) / self.wall if self.wall else 0.0

    @property
    def bad(self) -> str:
        """What must never happen, in words; empty where nothing did."""
        found = {"failed": self.failed, "lost": self.lost, "doubled": self.doubled}
        return ", ".join(f"{count} {name}" for name, count in found.items() if count)


async def closed(target: Target, text: str, turns: int, at_once: int, *, patience: float = 60) -> Load:
    """`turns` turns, `at_once` in flight: each posts the next message when its last one was answered."""
    load, left, started = Load(), iter(range(turns)), time.monotonic()

    async def one_after_the_other() -> None:
        for number in left:
            await one(target, load, text, time.monotonic(), number, patience)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    return ended(target, load, started)


async def steady(target: Target, text: str, turns: int, per_second: float, *, patience: float = 60) -> Load:
    """A post each 1/`per_second` seconds, whatever became of those before."""
    load, started = Load(), time.monotonic()
    running: list[asyncio.Task[None]] = []
    for number in range(turns):
        due = started + number / per_second
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        running.append(asyncio.create_task(one(target, load, text, due, number, patience)))
    await asyncio.gather(*running)
    return ended(target, load, started)


async def one(target: Target, load: Load, text: str, due: float, number: int, patience: float) -> None:
    load.turns += 1
    posted = await target.post(text, number)
    load.repeated += posted.repeated
    load.ack.append((posted.answered - due) * 1000)
    arrival = await target.callbacks.of(posted.run, patience)
    if arrival is None:
        load.lost += 1
        return
    load.done.append((arrival.at - due) * 1000)
    load.failed += arrival.status != "done"


def ended(target: Target, load: Load, started: float) -> Load:
    arrivals = target.callbacks.arrived
    load.wall = max((arrival.at for arrival in arrivals.values()), default=started) - started
    load.doubled = sum(len(set(arrival.deliveries)) > 1 for arrival in arrivals.values())
    return load


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile, `share` from 0 to 1; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def run(ports: Sequence[int], secret: str, play: Callable[[Target], Coroutine[Any, Any, Load]]) -> Load:
    """Play one load, with a receiver and connections of its own."""

    async def whole() -> Load:
        callbacks = Callbacks(secret.encode())
        server = await callbacks.listen()
        client = Client(MOST_CONNECTIONS, ANSWER_WITHIN)
        try:
            return await play(Target(ports, client, callbacks, secret))
        finally:
            client.close()
            server.close()

    return asyncio.run(whole())
