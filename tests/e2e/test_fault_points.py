"""R7: the process is killed right before and right after each commit of a turn with a tool call, one by one; also of a
turn that waits for an approval, from the question to the end; and the beat that leads, at each commit of a firing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.commit_proxy import CommitProxy, Plan
from tests.e2e.due_times import TURNS, TWICE, local_job
from tests.e2e.fleet import SECRET, Fleet, Process, wait_until
from tests.fakes.receiver import Receiver, receiving
from tests.fakes.slack import Channel, FakeSlack, Person, serving_slack

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
        # With its children, since gunicorn's outlive it by a moment.
        proxy.kill = lambda: os.killpg(process.popen.pid, signal.SIGKILL)
        return process, proxy

    def sweep(self, kind: str, after: bool, one: Callable[[str], None]) -> int:
        """Do `one` again and again, with a process of `kind` killed at its first commit, at its second, and so on until
        there is none. How many there were, and one more."""
        victims = [self.start(kind), self.start(kind)]
        if kind == "web":
            for process, _ in victims:
                self.fleet.ready(process)
        one("warm-up")
        nth, seen = 1, list[str]()
        while True:
            # Either of the two may have the turn: whichever makes its nth commit dies.
            plan = Plan(nth, after)
            for _, proxy in victims:
                proxy.plan = plan
            one(f"turn-{nth}")
            for _, proxy in victims:
                proxy.plan = None
            if not plan.hit:
                assert not self.receiver.problems, seen
                return nth
            seen.append(plan.hit)
            # Killed is not yet dead: taken for alive, it would not be replaced.
            wait_until(partial(self.one_died, victims), 10, "nobody died")
            victims = [(process, proxy) if process.alive else self.start(kind) for process, proxy in victims]
            if kind == "web":
                for process, _ in victims:
                    self.fleet.ready(process)
            nth += 1

    def one_died(self, victims: list[tuple[Process, CommitProxy]]) -> bool:
        return not all(process.alive for process, _ in victims)

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

    def one_question(self, number: str, sender: Process, decision: str) -> None:
        """A turn whose command is asked about, and the answer; whatever happened on the way, the answer holds."""
        command = f"echo {number} >> {self.counter}; rm -rf none"
        accepted = self.fleet.post(f"run: {command}", web=sender, replyUrl=self.receiver.url, eventId=number)
        (asked,) = self.fleet.asked(accepted)
        # Whoever answers asks again where nobody said how it went: then it is told that it was so already.
        wait_until(lambda: self.answered(asked["id"], decision), 30, self.fleet.logs)
        ended = self.fleet.finished(accepted, 30)
        assert ended["status"] == "done", ended
        ran = self.counter.read_text().split().count(number) if self.counter.exists() else 0
        if decision == "deny":
            assert ran == 0
            assert "grace denied this call" in ended["text"]
        else:
            assert ran <= 1, f"the command of turn {number} ran {ran} times"
            assert ran == 1 or "nobody knows" in ended["text"] or "told to stop" in ended["text"], ended
        run = accepted["runId"]
        wait_until(lambda: self.replies(run) == 3, 15, lambda: f"no card, news and reply: {self.deliveries(run)}")
        steps = self.fleet.sql("SELECT n FROM step WHERE turn_id = :run ORDER BY n", run=run)
        assert steps == [(1,), (2,)], "each step is there once"
        wanted = "approved" if decision == "approve" else "denied"
        assert self.fleet.sql("SELECT state FROM approval WHERE turn_id = :run", run=run) == [(wanted,)]
        kinds = "SELECT count(*) FROM event WHERE turn_id = :run AND kind = :kind"
        assert self.fleet.sql(kinds, run=run, kind=f"approval_{wanted}") == [(1,)]

    def one_firing(self, name: str) -> None:
        """A job with a target and a heartbeat over threads become due; each must fire once whatever happened."""
        with self.fleet.db.transaction() as connection:
            due = connection.exec_driver_sql(
                "UPDATE job SET anchor = now() - interval '1 hour', next_at = now() RETURNING now()"
            ).scalar()
        ran = """
            SELECT job.name, occurrence.outcome, job_run.state FROM job JOIN occurrence ON occurrence.job_id = job.id
                LEFT JOIN job_run ON job_run.job_id = job.id AND job_run.due_at = occurrence.due_at
            WHERE occurrence.due_at = :due ORDER BY 1"""
        wait_until(
            lambda: [state for *_, state in self.fleet.sql(ran, due=due)] == ["done", "done"],
            40,
            lambda: f"{name}: {self.fleet.sql(ran, due=due)}\n{self.fleet.logs()}",
        )
        assert [job for job, *_ in self.fleet.sql(ran, due=due)] == ["ops", "threads"]
        assert self.fleet.sql(TWICE) == []
        assert self.fleet.sql(TURNS) == []

    def one_chat(self, number: str, slack: FakeSlack, channel: Channel, ann: Person) -> None:
        """A message in Slack: its reply is there once, whoever died between sending it and writing that down."""
        (envelope,) = slack.events_of(slack.say(channel, ann, f"say: answer {number}"))
        url = f"http://127.0.0.1:{self.fleet.of('web')[0].port}/slack/team-chat/events"
        assert slack.deliver(url, envelope)[-1].status == 200
        ended = "SELECT count(*) FROM delivery WHERE state NOT IN ('sent', 'failed', 'ambiguous')"

        def replies() -> int:
            said = [m.text for m in slack.messages(channel) if m.user == slack.bot_user]
            return said.count(f"answer {number}")

        wait_until(lambda: replies() >= 1 and self.fleet.sql(ended) == [(0,)], 40, self.fleet.logs)
        assert replies() == 1
        assert self.fleet.sql("SELECT DISTINCT state FROM delivery") == [("sent",)]

    def answered(self, approval: str, decision: str) -> bool:
        # Those first that may be killed meanwhile.
        for web in reversed(self.fleet.of("web")):
            body = {"user": "grace", "decision": decision}
            status, answer = self.fleet.request(web, "POST", f"/webhook/internal/approvals/{approval}", body)
            if status == 200 or (status == 409 and answer["approval"]["decidedBy"] == "grace"):
                return True
        return False

    def deliveries(self, run: str) -> Any:
        statement = "SELECT kind, state, attempts, due_at, error, now() FROM delivery WHERE turn_id = :run ORDER BY seq"
        return self.fleet.sql(statement, run=run), self.fleet.logs()

    def replies(self, run: str) -> int:
        with self.receiver.lock:
            return sum(1 for body in self.receiver.got if body["runId"] == run)


@pytest.fixture
def rig(tmp_path: Path, database_url: str, redis_url: str, request: pytest.FixtureRequest) -> Iterator[Rig]:
    fleet = Fleet(tmp_path, database_url, redis_url, config={**QUICK, **getattr(request, "param", {})})
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
    rig.fleet.start("runner" if kind == "worker" else "worker")
    # Fewer would mean that the plan stopped looking before the turn was through.
    assert rig.sweep(kind, after, lambda name: rig.one_turn(name, sender)) > (4 if kind == "worker" else 2)


@pytest.mark.timeout(280)
@pytest.mark.parametrize("kind", ["worker", "web"])
@pytest.mark.parametrize(
    ("decision", "after"),
    # After a commit is before the next one: once is enough for what a denial adds to an approval.
    [("approve", False), ("approve", True), ("deny", False)],
    ids=["approve-before", "approve-after", "deny-before"],
)
def test_killed_at_every_commit_from_a_question_to_its_turn_s_end(
    rig: Rig, kind: str, decision: str, after: bool
) -> None:
    """The web is the one that decides; the worker asks, and goes on."""
    rig.fleet.up(web=1)
    sender = rig.fleet.of("web")[0]
    for other in {"worker", "runner"} - {kind}:
        rig.fleet.start(other)
    commits = rig.sweep(kind, after, lambda name: rig.one_question(name, sender, decision))
    assert commits > (7 if kind == "worker" else 5)


@pytest.mark.timeout(280)
def test_killed_at_every_commit_of_a_turn_in_slack(rig: Rig) -> None:
    """R5: before a commit is after a send that nobody has written down."""
    with serving_slack() as slack:
        slack.lenient = True
        ann = slack.person("ann")
        channel = slack.channel("", kind="im", members=[ann])
        tokens = {"bot_token": slack.bot_token, "signing_secret": slack.signing_secret, "api_url": slack.base_url}
        rig.fleet.configure(
            adapters=[{"kind": "slack", "name": "team-chat", **tokens}],
            delivery={"backoff": "100ms", "settle_after": "100ms"},
        )
        rig.fleet.up(web=1)
        # The reaction, the turn's end, the reply and what takes the reaction away; accepting is the web's.
        assert rig.sweep("worker", False, lambda number: rig.one_chat(number, slack, channel, ann)) > 4
        assert len({m.text for m in slack.messages(channel)}) > 4


FIRED = {"jobs": [local_job("ops", "1h"), local_job("threads", "1h", scope={"local": {"channels": ["beat"]}})]}


@pytest.mark.timeout(280)
@pytest.mark.parametrize("rig", [FIRED], indirect=True)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_leader_killed_at_every_commit_of_a_firing(rig: Rig, after: bool) -> None:
    rig.fleet.up(worker=1)
    rig.fleet.db.rows(
        "INSERT INTO thread (id, agent, adapter, key, channel)"
        " VALUES (gen_random_uuid(), 'default', 'local', 'beat', 'beat')"
    )
    first = rig.fleet.start("beat")
    wait_until(lambda: rig.fleet.sql("SELECT count(*) FROM job") == [(2,)], 20, rig.fleet.logs)
    first.stop()
    # A firing and a fan-out at least; more where it found the jobs one by one, or started the runs' turns itself.
    assert rig.sweep("beat", after, rig.one_firing) > 2
