"""P1, P2 and P3: acknowledging, turns per second, and what heyfleet adds to a turn."""

from __future__ import annotations

import time
from statistics import median

from bench import commits, empty_tasks
from bench.load import Load, percentile
from bench.report import Figure
from bench.rig import Rig, Running

AT_ONCE = 50
NO_TOOL = "hello there"
ONE_CALL = '[[tools=1 command="echo hi"]] say hi'
TASKS_NO_TOOL = 1
"""Celery tasks of a turn: one wake of its thread; the reply is delivered in the same task."""
TASKS_ONE_CALL = 3
"""The thread, its sandbox, and the thread again."""
STATISTICS_SECONDS = 11.0
"""A process of Postgres that has nothing to do reports what it did after ten seconds."""
COMMITS_NO_TOOL = 5
"""Accept, take, commit; take the destination, finish the delivery."""


def capacity(running: Running) -> list[Load]:
    """P2's main load: the median run's rate is what the rest calls capacity."""
    runs, turns = (1, 300) if running.rig.quick else (3, 1200)
    return by_rate([running.closed(NO_TOOL, turns, AT_ONCE) for _ in range(runs)])


def p1(full: list[Load], half: Load) -> list[Figure]:
    acks = middle(full).ack
    return [
        Figure("P1", "ack p50, half of capacity", percentile(half.ack, 0.5), "ms"),
        Figure("P1", "ack p99, half of capacity", percentile(half.ack, 0.99), "ms", 25),
        Figure("P1", f"ack p50, {AT_ONCE} at once", percentile(acks, 0.5), "ms"),
        Figure("P1", f"ack p99, {AT_ONCE} at once", percentile(acks, 0.99), "ms", 250),
    ]


def p2(running: Running, full: list[Load]) -> list[Figure]:
    rig = running.rig
    per_second = middle(full).per_second
    before, spent = running.cpu(), running.closed(NO_TOOL, 300 if rig.quick else 1000, AT_ONCE)
    used = {kind: (seconds - before[kind]) / spent.turns * 1000 for kind, seconds in running.cpu().items()}
    split = ", ".join(f"{kind} {ms:.1f}" for kind, ms in used.items() if ms >= 0.05)
    runs, turns = (1, 200) if rig.quick else (3, 1000)
    tools = by_rate([running.closed(ONE_CALL, turns, AT_ONCE) for _ in range(runs)])
    commits_no_tool, commits_one_call = commits_of(running, NO_TOOL), commits_of(running, ONE_CALL)
    figures = [
        Figure("P2", "turns/s, no tool, 50 at once", per_second, "/s", 180, less_is_better=False, note=spread(full)),
        Figure("P2", "the same: CPU per turn", sum(used.values()), "ms", note=split),
        Figure("P2", "the same: received → delivered p50", percentile(middle(full).done, 0.5), "ms"),
        Figure(
            "P2",
            "turns/s, one bash call, 50 at once",
            middle(tools).per_second,
            "/s",
            100,
            less_is_better=False,
            note=spread(tools),
        ),
        Figure("P2", "commits of a turn, no tool (counted)", commits_no_tool, ""),
        Figure("P2", "commits of a turn, one bash call (counted)", commits_one_call, ""),
    ]
    return figures + yardsticks(rig, running, per_second, middle(tools).per_second)


def p3(running: Running, half: Load) -> list[Figure]:
    alone = running.closed(NO_TOOL, 50 if running.rig.quick else 200, 1)
    return [
        Figure("P3", "added to one unloaded turn p50", percentile(alone.done, 0.5), "ms", 15),
        Figure("P3", "added to one unloaded turn p95", percentile(alone.done, 0.95), "ms"),
        Figure("P3", "added to one unloaded turn p99", percentile(alone.done, 0.99), "ms", 40),
        Figure("P3", "received → delivered p50, half of capacity", percentile(half.done, 0.5), "ms"),
        Figure("P3", "received → delivered p99, half of capacity", percentile(half.done, 0.99), "ms", 150),
    ]


def half_of(running: Running, full: list[Load]) -> Load:
    """An open loop at a constant rate: posts don't wait for what became of those before."""
    rate = middle(full).per_second / 2
    return running.steady(NO_TOOL, int(rate * (5 if running.rig.quick else 20)), rate)


def yardsticks(rig: Rig, running: Running, no_tool: float, one_call: float) -> list[Figure]:
    """What the parts can do by themselves, with the fleet at rest, beside what a turn needs of them."""
    count = 1000 if rig.quick else 4000
    celery = empty_tasks.measure(rig.servers.redis.url, rig.folder, processes=rig.workers, threads=200, count=count)
    postgres = commits.measure(running.fleet.database_url, rig.folder)
    return [
        Figure("P2", "yardstick: empty Celery tasks", celery, "/s", note=f"{rig.workers} processes of 200 threads"),
        Figure("P2", "no tool ÷ (empty tasks ÷ 1)", no_tool / celery, "", 0.5, less_is_better=False),
        Figure("P2", "one bash call ÷ (empty tasks ÷ 3)", one_call * 3 / celery, "", 0.5, less_is_better=False),
        Figure("P2", "yardstick: pgbench commits", postgres, "/s", note="1-row update, 8 clients, prepared"),
        Figure("P2", "no tool: commits per second ÷ pgbench", no_tool * COMMITS_NO_TOOL / postgres, ""),
    ]


def commits_of(running: Running, text: str, turns: int = 100) -> float:
    """Transactions that Postgres counted for each of some unloaded turns, those for upkeep left out."""

    def counted() -> int:
        time.sleep(STATISTICS_SECONDS)
        found = running.fleet.sql("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        return int(found[0][0])

    before, started = counted(), time.monotonic()
    running.closed(text, turns, 1)
    after, took = counted(), time.monotonic() - started
    at_rest = counted() - after
    return (after - before - at_rest * took / STATISTICS_SECONDS) / turns


def by_rate(loads: list[Load]) -> list[Load]:
    return sorted(loads, key=lambda load: load.per_second)


def middle(loads: list[Load]) -> Load:
    """Of loads in the order of their rates, the median one."""
    return loads[len(loads) // 2]


def spread(loads: list[Load]) -> str:
    rates = [load.per_second for load in loads]
    if len(rates) == 1:
        return f"{loads[0].turns} turns"
    of = f"{len(rates)} runs of {loads[0].turns} turns"
    return f"median {median(rates):.0f} of {of}: {min(rates):.0f} to {max(rates):.0f}"
