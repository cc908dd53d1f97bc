"""P5: what one tool call adds to an unloaded turn, in a sandbox that is warm."""

from __future__ import annotations

import shutil

from bench.load import percentile
from bench.report import Figure
from bench.rig import Rig
from bench.throughput import NO_TOOL, ONE_CALL

ROUNDS = 4


def p5(rig: Rig) -> list[Figure]:
    runtimes = ["virtual", *(["bubblewrap"] if shutil.which("bwrap") else [])]
    return [one_call(rig, runtime) for runtime in runtimes]


def one_call(rig: Rig, runtime: str) -> Figure:
    """Turns with and without a call in turn, so that both meet the same noise."""
    turns = 10 if rig.quick else 40
    settings = {"name": runtime, "workspace": str(rig.folder / "workspace" / runtime)}
    # One sandbox for all threads: each turn is a new thread, and finds it warm.
    with rig.fleet(scope="adapter", runtime=settings) as running:
        running.closed(ONE_CALL, 5, 1)
        without, with_call = list[float](), list[float]()
        for _ in range(ROUNDS):
            without += running.closed(NO_TOOL, turns, 1).done
            with_call += running.closed(ONE_CALL, turns, 1).done
    added = percentile(with_call, 0.5) - percentile(without, 0.5)
    note = f"p50 {percentile(without, 0.5):.1f} → {percentile(with_call, 0.5):.1f} ms"
    return Figure("P5", f"one bash call, {runtime}: adds to the p50", added, "ms", 12, note=note)
