"""P4: many turns at once that wait on their model, and the memory that each of them takes meanwhile."""

from __future__ import annotations

from bench.load import Load, percentile
from bench.processes import pss, watched
from bench.report import Figure
from bench.rig import Rig, Running

SPARE_THREADS = 100


def p4(rig: Rig) -> list[Figure]:
    loads = [(100, 2.0, None, None)] if rig.quick else [(500, 2.0, 2.8, None), (2000, 10.0, 14.0, 150.0)]
    figures: list[Figure] = []
    most = max(turns for turns, *_ in loads)
    with rig.fleet(threads=most // rig.workers + SPARE_THREADS) as running:
        for turns, wait, wall, memory in loads:
            load, kilobytes = wait_at_once(running, turns, wait)
            what = f"{turns} turns at once that wait {wait:g} s each"
            late = percentile(load.ack, 0.99)
            figures += [
                Figure("P4", f"{what}: all done", load.wall, "s", wall, note=f"ack p99 {late:.0f} ms"),
                Figure("P4", f"{what}: worker memory per waiting turn", kilobytes, "KB", memory),
            ]
    return figures


def wait_at_once(running: Running, turns: int, wait: float) -> tuple[Load, float]:
    """The load, and by how many KB (of 1000 bytes) the workers grew for each turn."""

    def workers() -> list[int]:
        return running.pids("worker")

    before = pss(workers())
    with watched(workers) as peak:
        load = running.closed(f"[[first_token_ms={wait * 1000:g}]] hello", turns, turns, patience=wait + 60)
    return load, (peak.bytes - before) / turns / 1000
