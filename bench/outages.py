"""`python -m bench.outages [--seconds N] [--rate R]`: Redis, and then Postgres, is stopped and started under load.

While Redis is away messages must be accepted as fast as ever, and answered within ten seconds of its return. While
Postgres is away they must be refused within a second, and what is posted again must become one turn. Exit code 1 where
anything is otherwise.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from bench.load import percentile
from bench.rig import AS_SHIPPED, Servers, scratch, servers
from bench.rolling import GIVE_UP_AFTER, answer_of, judge, webs
from tests.e2e.fleet import SECRET, Fleet, wait_until
from tests.fakes.receiver import Receiver, receiving

FLEET = {"web": 2, "worker": 2, "runner": 1, "beat": 1}
TEXTS = ("hello", "run: echo done", "say: well")
POSTERS = 4
P99_MS = 250
"""Of acceptance without Redis."""
ANSWERED_WITHIN = 10.0
"""Seconds from Redis's return to the last answer to what came in meanwhile."""
REFUSED_WITHIN = 1.0
"""Seconds, without Postgres."""

ANSWERED = """
    SELECT extract(epoch FROM max(delivery.finished_at)) FROM turn JOIN delivery ON delivery.turn_id = turn.id
    WHERE turn.created_at BETWEEN to_timestamp(:since) AND to_timestamp(:until) AND delivery.kind = 'reply'"""


@dataclass(frozen=True)
class Try:
    """One post: when it began, how many seconds it took, and its status (0: none)."""

    at: float
    took: float
    status: int


@dataclass
class Load:
    """What was posted. A message that is not accepted is posted again, as a provider does."""

    fleet: Fleet
    receiver: Receiver
    rate: float
    tries: list[Try] = field(default_factory=list)
    accepted: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ends_at: float = float("inf")
    """When what is not accepted is given up, by `time.monotonic`."""

    def post(self, poster: int) -> None:
        due = time.monotonic()
        for number in count():
            if self.over.wait(max(0.0, due - time.monotonic())):
                return
            due += POSTERS / self.rate
            text = TEXTS[number % len(TEXTS)]
            body = {"user": "ada", "text": text, "eventId": f"{poster} {number}", "replyUrl": self.receiver.url}
            self.insist(body, number)

    def insist(self, body: dict[str, Any], first: int) -> None:
        for port in webs(self.fleet, first):
            if self.over.is_set() and time.monotonic() > self.ends_at:
                return
            at, began = time.time(), time.monotonic()
            status = answer_of(port, body)
            with self.lock:
                self.tries.append(Try(at, time.monotonic() - began, status))
                self.accepted += status == 202
            if status == 202:
                return
            time.sleep(0.5)  # as a provider waits that was refused

    def between(self, since: float, until: float) -> list[Try]:
        """Those that began within the time; give the last of them a moment to end."""
        with self.lock:
            return [one for one in self.tries if since <= one.at < until]


def without_redis(load: Load, both: Servers, seconds: float) -> tuple[list[str], list[str]]:
    """What was measured, and what is wrong."""
    both.redis.stop()
    since = time.time()
    load.over.wait(seconds)
    until = time.time()
    both.redis.start()
    back = time.time()
    load.over.wait(ANSWERED_WITHIN + 5)
    open_turns = "SELECT count(*) FROM turn WHERE finished_at IS NULL AND created_at < to_timestamp(:until)"
    wait_until(lambda: load.fleet.sql(open_turns, until=until)[0][0] == 0, 120, load.fleet.logs)
    tries = load.between(since, until)
    answered = float(load.fleet.sql(ANSWERED, since=since, until=until)[0][0]) - back
    took = [one.took * 1000 for one in tries]
    p99 = percentile(took, 0.99)
    told = [
        f"Redis away for {until - since:.0f} s: {len(tries)} posts; p50 {percentile(took, 0.5):.0f} ms, "
        f"p99 {p99:.0f} ms ({P99_MS}), slowest {max(took):.0f} ms",
        f"the last of them was answered {answered:.1f} s after its return ({ANSWERED_WITHIN:.0f} s)",
    ]
    wrong = [f"{one.status} without Redis" for one in tries if one.status != 202]
    wrong += [f"p99 of acceptance without Redis: {p99:.0f} ms"] if p99 > P99_MS else []
    wrong += [f"answered {answered:.1f} s after Redis came back"] if answered > ANSWERED_WITHIN else []
    return told, wrong


def without_postgres(load: Load, both: Servers, seconds: float) -> tuple[list[str], list[str]]:
    both.postgres.stop()
    since = time.time()
    load.over.wait(seconds)
    # Not those of the last moment: they may meet it starting.
    until = time.time() - REFUSED_WITHIN
    load.over.wait(REFUSED_WITHIN)
    tries = load.between(since, until)
    both.postgres.start()
    took = [one.took for one in tries]
    told = [
        f"Postgres away for {until - since:.0f} s: {len(tries)} posts, refused within {percentile(took, 0.5):.3f} s "
        f"(p50), {percentile(took, 0.99):.3f} s (p99), {max(took):.3f} s (slowest; {REFUSED_WITHIN:.0f} s)"
    ]
    wrong = [f"{one.status} without Postgres" for one in tries if one.status != 503]
    wrong += [f"refused after {max(took):.2f} s"] if max(took) > REFUSED_WITHIN else []
    return told, wrong


def go_through(load: Load, both: Servers, seconds: float) -> tuple[list[str], list[str]]:
    threads = [threading.Thread(target=load.post, args=(poster,)) for poster in range(POSTERS)]
    for thread in threads:
        thread.start()
    try:
        load.over.wait(5)
        told, wrong = without_redis(load, both, seconds)
        more, worse = without_postgres(load, both, min(seconds, 10))
        load.over.wait(5)
    finally:
        load.ends_at = time.monotonic() + GIVE_UP_AFTER
        load.over.set()
        for thread in threads:
            thread.join()
    load.fleet.db.close()  # its connections went with Postgres
    wrong += worse + judge(load.fleet, load.receiver, load.accepted)
    return [*told, *more, f"{load.accepted} messages in all"], wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.outages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="without Redis; without Postgres ten at most")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second")
    options = parser.parse_args()
    with ExitStack() as stack:
        data = stack.enter_context(scratch())
        both = stack.enter_context(servers(data))
        receiver = stack.enter_context(receiving(SECRET))
        fleet = Fleet(data / "fleet", both.database("outages"), both.redis.url, config=dict(AS_SHIPPED))
        stack.callback(fleet.close)
        fleet.up(**FLEET)
        told, wrong = go_through(Load(fleet, receiver, options.rate), both, options.seconds)
    print("\n".join([*told, *(f"WRONG {line}" for line in wrong), f"{len(wrong)} things are wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
