"""R7: the process is killed right before and right after each commit of a turn with a tool call, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.commit_proxy import CommitProxy, Plan
from tests.e2e.fleet import SECRET, Fleet, Process, wait_until
from tests.fakes.receiver import Receiver, receiving

QUICK = {"lease": {"ttl": "2s", "renew": "500ms", "sweep": "200ms"}, "runtime": {"name": "host", "workspace": "./ws"}}


@dataclass
class Rig:
    """A fleet each of whose processes reaches Postgres through a proxy of its own."""

    fleet: Fleet
    receiver: Receiver
    counter: Path

    def start(self, kind: str) -> tuple[Process, CommitProxy]:
        url = urlsplit(self.fleet.database_url)
        proxy = CommitProxy(url.hostname or "", url.port or 0)
        netloc = f"{url.username}:{url.password}@127.0.0.1:{proxy.port}"
        through = url._replace(netloc=netloc, query="sslmode=disable&gssencmode=disable").geturl()
        process = self.fleet.start(kind, DATABASE_URL=through)
        proxy.kill = process.popen.kill
        return process, proxy

    def one_turn(self, number: str, sender: Process) -> None:
        """A turn with one command; it must end right whatever happened on the way."""
        command = f"echo {number} >> {self.counter}"
        accepted = self.fleet.post(f"run: {command}", web=sender, replyUrl=self.receiver.url, eventId=number)
        ended = self.fleet.finished(accepted, 30)
        assert ended["status"] == "done", ended
        ran = self.counter.read_text().split().count(number) if self.counter.exists() else 0
        assert ran <= 1, f"the command of turn {number} ran {ran} times"
        assert ran == 1 or "nobody knows" in ended["text"] or "told to stop" in ended["text"], ended
        run = accepted["runId"]
        wait_until(lambda: self.replies(run) == 1, 15, f"no reply to {number}: {self.receiver.posts}")
        steps = self.fleet.sql("SELECT n FROM step WHERE turn_id = :run ORDER BY n", run=run)
        assert steps == [(1,), (2,)], "each step is there once"

    def replies(self, run: str) -> int:
        with self.receiver.lock:
            return sum(1 for body in self.receiver.got if body["runId"] == run)


@pytest.fixture
def rig(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Rig]:
    fleet = Fleet(tmp_path, database_url, redis_url, config=dict(QUICK))
    with receiving(SECRET) as receiver:
        try:
            yield Rig(fleet, receiver, tmp_path / "counter")
        finally:
            fleet.close()


@pytest.mark.timeout(280)
@pytest.mark.parametrize("kind", ["worker", "runner"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_commit(rig: Rig, kind: str, after: bool) -> None:
    rig.fleet.up(web=1)
    sender = rig.fleet.of("web")[0]
    other = "runner" if kind == "worker" else "worker"
    rig.fleet.start(other)
    victim, proxy = rig.start(kind)
    spare = rig.start(kind)
    rig.one_turn("warm-up", sender)
    seen: list[str] = []
    nth = 1
    while True:
        # Either of the two may have the turn: whichever makes its nth commit dies.
        plan = Plan(nth, after)
        proxy.plan = spare[1].plan = plan
        rig.one_turn(f"turn-{nth}", sender)
        proxy.plan = spare[1].plan = None
        if not plan.hit:
            break
        seen.append(plan.hit)
        for process in (victim, spare[0]):
            if not process.alive:
                process.popen.wait()
        if not victim.alive:
            victim, proxy = rig.start(kind)
        if not spare[0].alive:
            spare = rig.start(kind)
        nth += 1
    assert not rig.receiver.problems
    # Fewer would mean that the plan stopped looking before the turn was through.
    assert nth > (4 if kind == "worker" else 2), seen
