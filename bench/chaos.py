"""`python -m bench.chaos [--messages N] [--minutes M] [--seed S]`: a fleet in a storm, and proof that nothing broke.

Messages are posted to a fleet whose processes and servers are killed and started again all the time; afterwards every
one of them must have been answered exactly once and in order. Exit code 1 where anything is otherwise.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load import percentile
from bench.rig import AS_SHIPPED, scratch, servers
from bench.storm import Storm
from bench.takeover import Takeovers
from bench.traffic import Traffic, plan
from bench.verdict import NOT_AT_REST, Evidence, figures, open_work, violations
from tests.e2e.fleet import FAST, SECRET, Fleet
from tests.fakes.openai import spawn

STOPPED = 130
"""What a shell says of a program that Ctrl-C ended."""
PROCESSES = {"web": 2, "worker": 3, "runner": 2, "beat": 1}


@dataclass(frozen=True, slots=True)
class Options:
    """One run."""

    messages: int = 10_000
    seconds: float = 600.0
    seed: int = 1
    settle: float = 180.0
    """How long the fleet may take to finish everything once the storm is over."""
    quick_leases: bool = False
    """Leases of 3 s rather than the product's 15 s."""


@dataclass
class Outcome:
    """What a run came to."""

    happened: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [*self.log, ""]
        lines += [f"{count:6}  {kind}" for kind, count in sorted(self.happened.items())]
        lines += [f"{value!s:>6}  {name}" for name, value in self.facts.items()]
        lines += ["", *(f"VIOLATION {line}" for line in self.violations)]
        lines.append(f"{len(self.violations)} violations" if self.violations else "no violations")
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="of storm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settle", type=float, default=180.0, help="seconds to finish everything afterwards")
    parser.add_argument("--quick-leases", action="store_true", help="3 s instead of 15 s")
    parser.add_argument("--folder", type=Path, help="keep configuration and logs here")
    found = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is taken down
    options = Options(found.messages, found.minutes * 60, found.seed, found.settle, found.quick_leases)
    try:
        outcome = run(options, found.folder)
    except KeyboardInterrupt:
        return STOPPED
    print(outcome.text())
    return 1 if outcome.violations else 0


def run(options: Options, folder: Path | None = None) -> Outcome:
    """One run; everything that it starts is gone afterwards."""
    outcome = Outcome()
    with ExitStack() as stack:
        data = stack.enter_context(scratch())
        place = folder or data / "fleet"
        place.mkdir(parents=True, exist_ok=True)
        both = stack.enter_context(servers(data))
        model = stack.enter_context(spawn())
        fleet = Fleet(place, both.database("chaos"), both.redis.url, config=config(options, place, model.base_url))
        stack.callback(fleet.close)
        fleet.up(**PROCESSES)
        counter = place / "counter"
        planned = plan(options.messages, options.seconds, options.seed, counter)
        traffic = Traffic(planned, [web.port for web in fleet.of("web")], SECRET, options.seed)
        stack.callback(traffic.close)
        lease = 3.0 if options.quick_leases else 15.0
        storm = Storm(fleet, both, Takeovers(fleet.db), options.seed, lease, outcome.happened, outcome.log)
        began = time.monotonic()
        traffic.start()
        storm.rage(options.seconds)
        settled = time.monotonic()
        fleet.db.close()  # its connections did not outlive the storm; it makes new ones
        outcome.violations += storm.ended_by_themselves()
        outcome.violations += settle(fleet, traffic, options.settle)
        outcome.facts["seconds of storm"] = round(settled - began)
        outcome.facts["seconds from its end until everything was done"] = round(time.monotonic() - settled, 1)
        evidence = Evidence(fleet.db, traffic, counter)
        outcome.violations += violations(evidence)
        outcome.facts.update(figures(evidence))
        outcome.facts.update(seen(traffic, storm.takeovers, model.stats()["requests"]))
    return outcome


def config(options: Options, place: Path, base_url: str) -> dict[str, Any]:
    return {
        **(FAST if options.quick_leases else AS_SHIPPED),
        "models": {"fake": {"model": "openai/fake", "base_url": base_url, "api_key": "none"}},
        "agents": {"default": {"model": "fake"}},
        # The counter is outside of any sandbox: what was run twice can be seen there.
        "runtime": {"name": "host", "workspace": str(place / "workspace")},
        # A receiver that refuses must not hold up the end of the run for minutes.
        "delivery": {"backoff": "500ms", "max_backoff": "5s"},
    }


def settle(fleet: Fleet, traffic: Traffic, seconds: float) -> list[str]:
    """Wait until every message is accepted and all work is done; what is not so in time."""
    deadline = time.monotonic() + seconds
    if not traffic.wait(seconds):
        return [f"R1: not all messages were accepted {seconds:g} s after the storm"]
    if traffic.failure:
        return [f"the load generator failed: {traffic.failure!r}"]
    while open_work(fleet.db):
        if time.monotonic() > deadline:
            return [f"R1: {open_work(fleet.db)} turns, calls or deliveries are open {seconds:g} s after the storm"]
        time.sleep(0.2)  # until the deadline: work ends in rows, which tell nobody
    # What only concerns lanes is over a moment later: a wake that finds nothing gives its lane back.
    while any(fleet.sql(NOT_AT_REST)) and time.monotonic() < deadline:
        time.sleep(0.2)  # as above
    return []


def seen(traffic: Traffic, takeovers: Takeovers, requests: int) -> dict[str, Any]:
    """What the outside saw of it."""
    takeovers.close()
    facts: dict[str, Any] = {"requests to the model": requests, "posts": dict(traffic.posts)}
    facts["callbacks posted more than once"] = sum(count > 1 for count in traffic.seen.values())
    facts["lanes of killed processes taken over (R6)"] = len(takeovers.seconds)
    facts["lanes of killed processes never taken over"] = takeovers.never
    for share in (0.5, 0.95, 1.0):
        facts[f"seconds to the taking over, p{share * 100:.0f}"] = round(percentile(takeovers.seconds, share), 1)
    return facts


if __name__ == "__main__":
    sys.exit(main())
