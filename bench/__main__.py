"""`python -m bench [--only p2,p3] [--workers N] [--quick]`: the performance goals, measured on this machine in one run.

Everything runs here: Postgres, Redis, the fleet, the model server and the load generator. It prints figures and how
they compare to the goals, and fails only where a turn was lost, doubled or failed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from bench import alone, throughput
from bench.acks import acks
from bench.calls import p5
from bench.cancelling import cancelling
from bench.idle import p8
from bench.jobs import p6
from bench.processes import Others
from bench.report import Figure, Report, machine
from bench.rig import Rig, scratch, servers
from bench.waiting import p4
from tests.fakes.openai import spawn

STOPPED = 130
"""What a shell says of a program that Ctrl-C ended."""
TOGETHER = ("p1", "p2", "p3")
"""Measured on one fleet: they share what its capacity is."""
APART: dict[str, Callable[[Rig], list[Figure]]] = {
    "p4": p4,
    "p5": p5,
    "p6": p6,
    "p8": p8,
    "cancel": cancelling,
    "acks": acks,
}


def main() -> int:
    options = parsed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is taken down
    only = set(options.only.split(",")) if options.only else {*TOGETHER, *APART}
    unknown = only - {*TOGETHER, *APART}
    if unknown:
        sys.exit(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join((*TOGETHER, *APART))}")
    report = Report(machine=machine())
    others = Others()
    try:
        everything(report, only, options)
    except KeyboardInterrupt:
        return STOPPED
    finally:
        note = "on average, while this ran: the less, the better the figures"
        report.add([Figure("", "cores used by others", others.cores(), "", note=note)])
        report.write()
        report.show()
    return 1 if report.problems else 0


def everything(report: Report, only: set[str], options: argparse.Namespace) -> None:
    report.add([Figure("", "the load generator alone", alone.measure().per_second, "turns/s")])
    with scratch() as folder, servers(folder) as both, spawn() as model:
        rig = Rig(folder, both, model, quick=options.quick, workers=options.workers, problems=report.problems)
        if only & set(TOGETHER):
            measured(report, "/".join(sorted(only & set(TOGETHER))), lambda: together(rig, only))
        for name, measure in APART.items():
            if name in only:
                measured(report, name, lambda measure=measure: measure(rig))  # type: ignore[misc]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", help="which, with commas between: p1,p2,p3,p4,p5,p6,p8,cancel,acks")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--quick", action="store_true", help="smaller loads: to see that it works, not to compare")
    return parser.parse_args()


def measured(report: Report, name: str, measure: Callable[[], list[Figure]]) -> None:
    """One benchmark's figures; what stops it is a problem of the report and not the end of the run."""
    print(f"measuring {name} …", file=sys.stderr, flush=True)
    try:
        report.add(measure())
    except Exception as error:
        report.problems.append(f"{name}: {type(error).__name__}: {error}")


def together(rig: Rig, only: set[str]) -> list[Figure]:
    figures: list[Figure] = []
    with rig.fleet() as running:
        full = throughput.capacity(running)
        half = throughput.half_of(running, full) if only & {"p1", "p3"} else None
        if "p1" in only and half:
            figures += throughput.p1(full, half)
        if "p2" in only:
            figures += throughput.p2(running, full)
        if "p3" in only and half:
            figures += throughput.p3(running, half)
    return figures


if __name__ == "__main__":
    sys.exit(main())
