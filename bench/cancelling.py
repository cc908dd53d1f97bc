"""How long a cancellation takes, in each phase of a turn: from the request until the run says that it is cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.load import percentile
from bench.report import Figure
from bench.rig import Rig
from tests.e2e.fleet import Fleet, wait_until

GOAL_MS = 1000
PHASES = {
    "queued": "hello",
    "model request": "[[first_token_ms=60000]] hello",
    "command running": '[[tools=1 command="sleep 60"]] hello',
    "waiting for approval": '[[tools=1 command="rm -rf x"]] hello',
}


def cancelling(rig: Rig) -> list[Figure]:
    tries = 3 if rig.quick else 20
    with rig.fleet(task={"busy": "follow_up"}) as running:
        return [figure(phase, [cancelled(running.fleet, phase) for _ in range(tries)]) for phase in PHASES]


def figure(phase: str, took: list[float]) -> Figure:
    note = f"p50 {percentile(took, 0.5):.0f} ms"
    return Figure("cancel", f"{phase}: cancelled after, at most", max(took), "ms", GOAL_MS, note=note)


def cancelled(fleet: Fleet, phase: str) -> float:
    """Milliseconds."""
    busy = fleet.post(PHASES["model request"]) if phase == "queued" else None
    accepted = fleet.post(PHASES[phase], **({"threadId": busy["threadId"]} if busy else {}))
    wait_until(reached(fleet, phase, accepted), 30, f"{phase} was not reached")
    took = cancel(fleet, accepted)
    if busy:
        cancel(fleet, busy)
    return took


def reached(fleet: Fleet, phase: str, accepted: dict[str, Any]) -> Callable[[], bool]:
    statement = {
        "queued": "SELECT 1 FROM turn WHERE id = :run AND state = 'queued'",
        "model request": "SELECT 1 FROM turn WHERE id = :run AND state = 'running'",
        "command running": "SELECT 1 FROM call WHERE turn_id = :run AND state = 'running'",
        "waiting for approval": "SELECT 1 FROM approval WHERE turn_id = :run AND state = 'pending'",
    }[phase]
    return lambda: fleet.sql(statement, run=accepted["runId"]) != []


def cancel(fleet: Fleet, accepted: dict[str, Any]) -> float:
    path = f"/webhook/internal/threads/{accepted['threadId']}/runs/{accepted['runId']}"
    web, started = fleet.of("web")[0], time.perf_counter()
    status, answer = fleet.request(web, "POST", f"{path}/cancel", {"user": "ada"})
    assert status == 202, answer
    while answer["status"] != "cancelled":
        _, answer = fleet.get(web, f"{path}?wait=5")
    return (time.perf_counter() - started) * 1000
