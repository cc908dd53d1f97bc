"""P6 and the goals of scheduling: jobs due together, among very many, over very many threads, and beside people."""

from __future__ import annotations

import time
from typing import Any

import redis

from app.leader import leader
from bench.load import percentile
from bench.processes import cpu_seconds
from bench.report import Figure
from bench.rig import Rig, Running
from tests.e2e.due_times import local_job
from tests.e2e.fleet import wait_until

SECOND_OF_MODEL = "[[first_token_ms=1000]] hello"

# Written beside the configuration's, once the leader has installed those: a file with so many takes minutes to read.
STORE = """
    INSERT INTO job (id, agent, name, kind, schedule, anchor, targets, prompt, max_catch_up, state, next_at)
    SELECT gen_random_uuid(), 'default', CAST(:name AS text) || n, 'cron', '{"every": 3600}',
        first - interval '1 hour' + n * make_interval(secs => :apart),
        jsonb_build_array(jsonb_build_object('adapter', 'local', 'kind', 'channel', 'name', CAST(:name AS text) || n)),
        :prompt, '1', 'active', first + n * make_interval(secs => :apart)
    FROM (SELECT date_trunc('second', now()) + make_interval(secs => :ahead) AS first) AS f,
        generate_series(0, CAST(:jobs AS bigint) - 1) AS n
    RETURNING next_at"""

ENDED = """
    SELECT extract(epoch FROM job_run.ended_at - job_run.due_at) AS seconds, job_run.state
    FROM job_run JOIN job ON job.id = job_id WHERE job.name LIKE :name || '%' AND job_run.ended_at IS NOT NULL"""

# The run's row is made by the transaction that fires it, so that its time is the transaction's; counted from a moment
# before the commit, which the round trip's few milliseconds are added for below.
LATE = """
    SELECT extract(epoch FROM job_run.created_at - job_run.due_at) AS seconds
    FROM job_run JOIN job ON job.id = job_id WHERE job.name LIKE :name || '%' AND job_run.created_at > :since"""

THREADS = """
    INSERT INTO thread (id, agent, adapter, key, channel)
    SELECT gen_random_uuid(), 'default', 'local', 'seen ' || n, 'seen ' || n
    FROM generate_series(1, CAST(:threads AS bigint)) AS n"""

HEARTBEAT = """
    INSERT INTO job (id, agent, name, kind, schedule, anchor, scope, prompt, max_catch_up, state, next_at)
    SELECT gen_random_uuid(), 'default', 'heartbeat', 'heartbeat', '{"every": 36000}', due - interval '10 hours',
        '{"local": {"teams": null, "channels": null, "users": null}}', 'hello', '1', 'active', due
    FROM (SELECT date_trunc('second', now()) + interval '3 seconds' AS due) AS d
    RETURNING next_at"""

MANY_TARGETS = """
    INSERT INTO job (id, agent, name, kind, schedule, anchor, targets, prompt, max_catch_up, state, next_at)
    SELECT gen_random_uuid(), 'default', 'crowd', 'cron', '{"every": 36000}', now() - interval '10 hours',
        (SELECT jsonb_agg(jsonb_build_object('adapter', 'local', 'kind', 'channel', 'name', 'crowd ' || n))
            FROM generate_series(1, CAST(:targets AS bigint)) AS n),
        :prompt, '1', 'active', now()
    RETURNING id"""


def p6(rig: Rig) -> list[Figure]:
    """Each part on the fleet of the ones before it: they are stored beside each other, as jobs are."""
    with rig.fleet(jobs=[local_job("second")]) as running:
        fleet = running.fleet
        for _ in range(2):
            fleet.start("beat")
        wait_until(lambda: looks(running), 30, fleet.logs)
        # First, since the next leader would pause what is not in the configuration.
        figures = without_leader(running, 1 if rig.quick else 3)
        figures += together(running, 3 if rig.quick else 5)
        figures += among_many(running, 5_000 if rig.quick else 100_000, 10 if rig.quick else 60)
        figures += over_threads(running, 5_000 if rig.quick else 100_000)
        return [*figures, *beside_people(running, 1_000 if rig.quick else 10_000)]


def looks(running: Running) -> bool:
    found = leader(redis.Redis.from_url(running.fleet.redis_url))
    return found is not None and found.looked_at is not None


def together(running: Running, times: int) -> list[Figure]:
    """200 jobs due at one moment, again and again."""
    sql, took = running.fleet.sql, list[float]()
    for number in range(times):
        name = f"together {number} "
        store(running, name, 200, ahead=3, apart=0.0, prompt=SECOND_OF_MODEL)
        wait_until(lambda name=name: len(sql(ENDED, name=name)) == 200, 60, "they do not end")  # type: ignore[misc]
        took.append(float(max(seconds for seconds, _ in sql(ENDED, name=name))))
        check(running, name)
    note = f"worst of {times}; best {min(took):.2f} s"
    return [Figure("P6", "200 jobs due together, 1 s model: all done after", max(took), "s", 3.0, note=note)]


def among_many(running: Running, stored: int, seconds: float) -> list[Figure]:
    """So many stored jobs, each due once an hour, one after the other."""
    roots = [process.popen.pid for process in running.fleet.of("beat")]
    store(running, "many ", stored, ahead=5, apart=3600 / stored, prompt="hello")
    time.sleep(8)  # until the first of them are due, and the load is even
    since, before = now(running), cpu_seconds(roots)
    time.sleep(seconds)  # the time over which it is measured
    cores = (cpu_seconds(roots) - before) / seconds
    late = lateness(running, "many ", since)
    note = (
        f"{len(late) / seconds:.0f} due each second, {cores:.2f} cores of both beats; p50 {percentile(late, 0.5):.2f} s"
    )
    said = f"{stored} stored jobs: from the due time to the run, p99"
    return [Figure("P6", said, percentile(late, 0.99), "s", 1.5, note=note)]


def over_threads(running: Running, threads: int) -> list[Figure]:
    """A heartbeat over so many threads, while the stored jobs go on."""
    sql = running.fleet.sql
    running.fleet.db.rows(THREADS, threads=threads)
    running.fleet.db.rows("ANALYZE thread")
    before = sql("SELECT count(*) FROM thread WHERE adapter = 'local'")[0][0]
    since = now(running)
    (due,) = sql(HEARTBEAT)[0]
    done = "SELECT runs FROM occurrence JOIN job ON job.id = job_id WHERE job.name = 'heartbeat'"
    wait_until(lambda: sql(done) != [], 60, "it was not fanned out")
    took = (now(running) - due).total_seconds()
    runs = sql(done)[0][0]
    if runs < before:
        running.rig.problems.append(f"{before} threads, {runs} runs")
    time.sleep(2)  # for those that were due while it was fanned out
    late = lateness(running, "many ", since)
    call_off(running, "heartbeat")
    return [
        Figure("P6", f"heartbeat over {runs} threads: fanned out after", took, "s", 5.0, note="from its due time"),
        Figure("P6", "meanwhile, other jobs: from the due time to the run, p99", percentile(late, 0.99), "s", 1.5),
    ]


def beside_people(running: Running, targets: int) -> list[Figure]:
    """A person's turn while so many runs are queued and as many as may are worked on."""
    fleet = running.fleet
    fleet.db.rows("UPDATE job SET state = 'paused' WHERE name LIKE 'many %' OR name = 'second'")
    wait_until(lambda: fleet.sql("SELECT count(*) FROM job_run WHERE state IN ('queued', 'running')") == [(0,)], 90, "")
    calm = [started(running) for _ in range(10)]
    fleet.db.rows(MANY_TARGETS, targets=targets, prompt=SECOND_OF_MODEL)
    full = "SELECT count(*) >= 180 FROM job_run WHERE state = 'running'"
    wait_until(lambda: fleet.sql(full) == [(True,)], 30, "the runs do not begin")
    queued = fleet.sql("SELECT count(*) FROM job_run WHERE state = 'queued'")[0][0]
    delays = [started(running) for _ in range(40)]
    call_off(running, "crowd")
    note = f"{queued} runs queued; p50 {percentile(delays, 0.5):.0f} ms, without them {percentile(calm, 0.5):.0f} ms"
    return [Figure("P6", "a person's turn begins after, at most", max(delays), "ms", 1000, note=note)]


def without_leader(running: Running, times: int) -> list[Figure]:
    """From the kill of the leader until the next firing, under the lease as it is shipped."""
    fleet, took = running.fleet, list[float]()
    newest = "SELECT max(decided_at) FROM occurrence JOIN job ON job.id = job_id WHERE job.name = 'second'"
    for _ in range(times):
        wait_until(lambda: looks(running), 60, "nobody leads")
        found = leader(redis.Redis.from_url(fleet.redis_url))
        assert found
        (process,) = [each for each in fleet.of("beat") if f"beat {each.popen.pid} " in found.owner]
        killed = now(running)
        process.kill()
        wait_until(lambda killed=killed: fleet.sql(newest)[0][0] > killed, 60, "nobody took over")  # type: ignore[misc]
        took.append((fleet.sql(newest)[0][0] - killed).total_seconds())
        fleet.again(process)
    return [Figure("P6", "leader killed: the next one fires after, at most", max(took), "s", 20.0)]


def store(running: Running, name: str, jobs: int, *, ahead: float, apart: float, prompt: str) -> None:
    running.fleet.db.rows(STORE, name=name, jobs=jobs, ahead=ahead, apart=apart, prompt=prompt)


def check(running: Running, name: str) -> None:
    states = {state for _, state in running.fleet.sql(ENDED, name=name)}
    if states != {"done"}:
        running.rig.problems.append(f"runs of {name} ended {states}")


def lateness(running: Running, name: str, since: Any) -> list[float]:
    found = [float(seconds) for (seconds,) in running.fleet.sql(LATE, name=name, since=since)]
    return found or [float("inf")]


def now(running: Running) -> Any:
    return running.fleet.sql("SELECT now()")[0][0]


def started(running: Running) -> float:
    """Milliseconds from a message's acceptance until a worker has begun with its turn."""
    accepted = running.fleet.post("hello")
    running.fleet.finished(accepted)
    statement = "SELECT extract(epoch FROM started_at - created_at) * 1000 FROM turn WHERE id = :run"
    return float(running.fleet.sql(statement, run=accepted["runId"])[0][0])


def call_off(running: Running, job: str) -> None:
    """Leave the runs of a job that have not begun."""
    running.fleet.db.rows(
        "UPDATE job_run SET state = 'skipped', ended_at = now() FROM job"
        " WHERE job.id = job_id AND job.name = :job AND job_run.state = 'queued'",
        job=job,
    )
