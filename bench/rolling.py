"""`python -m bench.rolling [--seconds N] [--rate R]`: every process of a fleet is restarted under load.

As a rolling update does it: SIGTERM, its end, another one in its place, and the next once that one is well. Whoever
posts does as a load balancer does, and tries another `web` where one does not answer. Afterwards every message must
have been accepted within three seconds and answered once, no turn may have failed, and no command may have been cut
short. Exit code 1 where anything is otherwise.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from app import processes
from bench.load import percentile
from bench.rig import AS_SHIPPED, scratch, servers
from tests.e2e.fleet import SECRET, Fleet, Process, wait_until, webhook
from tests.fakes.receiver import Receiver, receiving
from tests.fakes.telegram import FakeTelegram, serving_telegram

LONGEST_ACK = 3.0
FLEET = {"web": 2, "worker": 2, "runner": 2, "beat": 2, "gateway": 2}
CHAT = "team-chat"
CHAT_EVERY = 0.5
"""Seconds between two messages to the gateways."""
TEXTS = ("hello", "run: sleep 0.5; echo done", "say: well")
GIVE_UP_AFTER = 30.0
"""Seconds for which a message is posted again; whoever posts it has waited too long by then in any case."""


@dataclass
class Rolled:
    """What a run came to."""

    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    """Of the messages, over all posters."""
    acks: list[float] = field(default_factory=list)
    """Seconds from the first try to the 202, whatever was tried in between."""
    elsewhere: int = 0
    """How often another `web` had to be tried."""
    stops: Counter[str] = field(default_factory=Counter)
    took: dict[str, float] = field(default_factory=dict)
    """The longest time from SIGTERM to the end, by kind."""
    wrong: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """What was said to the gateways, and has to be said back in this order."""

    def text(self) -> str:
        stops = ", ".join(f"{times} {kind} (at most {self.took[kind]:.1f} s)" for kind, times in self.stops.items())
        p50, p99, slowest = (percentile(self.acks, share) * 1000 for share in (0.5, 0.99, 1.0))
        lines = [
            f"restarted: {stops}",
            f"{len(self.said)} messages to the gateways",
            f"{len(self.acks)} messages, {self.elsewhere} of them posted to another web after a first try",
            f"acknowledged: p50 {p50:.0f} ms, p99 {p99:.0f} ms, slowest {slowest:.0f} ms ({LONGEST_ACK:.0f} s allowed)",
            *(f"WRONG {line}" for line in self.wrong),
        ]
        return "\n".join([*lines, f"{len(self.wrong)} things are wrong" if self.wrong else "nothing is wrong"])


def with_chat(fake: FakeTelegram) -> dict[str, Any]:
    """Of a configuration: an adapter for the gateways, and a reply for each message."""
    fake.lenient = True
    adapter = {"kind": "telegram", "name": CHAT, "bot_token": fake.token, "api_url": fake.origin, "progress": False}
    return {"adapters": [webhook(), adapter], "task": {"busy": "follow_up"}}


def roll(fleet: Fleet, receiver: Receiver, fake: FakeTelegram, rate: float, seconds: float) -> Rolled:
    """Post at a steady rate while every process is restarted once, and for `seconds` at least."""
    found, over = Rolled(), threading.Event()
    ann = fake.person("Ann")
    chat = fake.private(ann)
    posting = [threading.Thread(target=post, args=(fleet, receiver, rate / 4, found, over)) for _ in range(4)]
    posting.append(threading.Thread(target=talk, args=(fake, chat, ann, found, over)))
    for thread in posting:
        thread.start()
    ends_at = time.monotonic() + seconds
    try:
        for process in list(fleet.processes):
            restart(fleet, process, found)
        over.wait(max(0.0, ends_at - time.monotonic()))
    finally:
        over.set()
        for thread in posting:
            thread.join()
    slow = [seconds for seconds in found.acks if seconds > LONGEST_ACK]
    if slow:
        found.wrong.append(f"{len(slow)} acknowledgements took longer than {LONGEST_ACK:.0f} s: {max(slow):.1f} s")
    found.wrong += judge(fleet, receiver, len(found.acks), elsewhere=len(found.said))
    heard = [message.text for message in fake.messages(chat) if message.sender.id == fake.bot.id]
    if heard != found.said:
        found.wrong.append(f"{len(found.said)} messages to the gateways, {len(heard)} answers, or in another order")
    return found


def talk(fake: FakeTelegram, chat: Any, person: Any, found: Rolled, over: threading.Event) -> None:
    for number in count(1):
        fake.say(chat, person, f"say: {number}")
        found.said.append(str(number))
        if over.wait(CHAT_EVERY):
            return


def restart(fleet: Fleet, process: Process, found: Rolled) -> None:
    began = time.monotonic()
    code = process.stop(60)
    took = time.monotonic() - began
    found.stops[process.kind] += 1
    found.took[process.kind] = max(found.took.get(process.kind, 0.0), took)
    if code != 0:
        found.wrong.append(f"a {process.kind} ended with {code}")
    another = fleet.again(process)
    wait_until(lambda: is_well(fleet, another), 60, lambda: f"a {process.kind} is not well\n{fleet.logs()}")


def is_well(fleet: Fleet, process: Process) -> bool:
    if process.kind == "web":
        return fleet.get(process, "/ready?for=accepting")[0] == 200
    return any(row.pid == process.popen.pid and row.state == "works" for row in processes.listed(fleet.db))


def post(fleet: Fleet, receiver: Receiver, rate: float, found: Rolled, over: threading.Event) -> None:
    """One poster: its messages are due at steady times."""
    due, mine = time.monotonic(), threading.get_ident()
    while not over.wait(max(0.0, due - time.monotonic())):
        due += 1 / rate
        number = next(found.numbers)
        body = {"user": "ada", "text": TEXTS[number % len(TEXTS)], "replyUrl": receiver.url}
        accepted(fleet, {**body, "eventId": f"{mine} {time.monotonic_ns()}"}, found, number)


def accepted(fleet: Fleet, body: dict[str, Any], found: Rolled, first: int) -> None:
    began = time.monotonic()
    for number, port in enumerate(webs(fleet, first)):
        status = answer_of(port, body)
        if status == 202:
            found.acks.append(time.monotonic() - began)
            return
        if number == 0:
            found.elsewhere += 1
        if time.monotonic() - began > GIVE_UP_AFTER:
            found.wrong.append(f"a message was not accepted within {GIVE_UP_AFTER:.0f} s: {status}")
            return


def webs(fleet: Fleet, first: int) -> Iterator[int]:
    """The ports of the webs, in turn; a moment between two rounds."""
    ports = sorted({process.port for process in fleet.processes if process.kind == "web"})
    while True:
        for offset in range(len(ports)):
            yield ports[(first + offset) % len(ports)]
        time.sleep(0.05)  # none of them takes it: as a load balancer waits before it tries again


def answer_of(port: int, body: dict[str, Any]) -> int:
    """The status; 0 where there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/webhook/internal", json.dumps(body).encode(), headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def judge(fleet: Fleet, receiver: Receiver, posted: int, elsewhere: int = 0) -> list[str]:
    """Wait for the end of all that was accepted, and look for what is not as it should be. `posted` messages are
    answered to the receiver, so many `elsewhere`."""
    wrong: list[str] = []
    total = posted + elsewhere
    ended = "SELECT count(*) FROM turn WHERE finished_at IS NOT NULL"
    wait_until(lambda: fleet.sql(ended)[0][0] >= total, 120, lambda: f"not all turns end\n{fleet.unfinished()}")
    receiver.wait_for(posted, 120)
    unsent = "SELECT count(*) FROM delivery WHERE state IN ('pending', 'sending')"
    wait_until(lambda: fleet.sql(unsent) == [(0,)], 120, lambda: f"not all is sent\n{fleet.logs()}")
    for what, statement, wanted in (
        ("turns", "SELECT count(*) FROM turn", total),
        ("turns that are not done", "SELECT count(*) FROM turn WHERE state <> 'done'", 0),
        ("calls that are not done", "SELECT count(*) FROM call WHERE state <> 'done'", 0),
        ("deliveries that are not sent", "SELECT count(*) FROM delivery WHERE state <> 'sent'", 0),
    ):
        number = fleet.sql(statement)[0][0]
        if number != wanted:
            wrong.append(f"{number} {what}, and not {wanted}")
    twice = [delivery for delivery, times in Counter(receiver.deliveries).items() if times > 1]
    if twice or len(set(receiver.deliveries)) != posted:
        wrong.append(f"{len(set(receiver.deliveries))} answers to {posted} messages, {len(twice)} of them twice")
    return wrong + receiver.problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rolling", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load, at least")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second")
    options = parser.parse_args()
    with ExitStack() as stack:
        data = stack.enter_context(scratch())
        both = stack.enter_context(servers(data))
        receiver = stack.enter_context(receiving(SECRET))
        fake = stack.enter_context(serving_telegram())
        config = {**AS_SHIPPED, **with_chat(fake)}
        fleet = Fleet(data / "fleet", both.database("rolling"), both.redis.url, config=config)
        stack.callback(fleet.close)
        fleet.up(**FLEET)
        found = roll(fleet, receiver, fake, options.rate, options.seconds)
    print(found.text())
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
