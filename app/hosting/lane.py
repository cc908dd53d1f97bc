"""Working a sandbox's lane: claim calls, run them, commit how they ended, until none is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from uuid import UUID

import structlog

from app import calls, meters, tracing
from app.calls import Begun, Claim, Ended, Finished, Place, Starved
from app.db import Database
from app.errors import HeyfleetError, LeaseLost
from app.hosting.operations import Done, Limits, operate
from app.hosting.warm import Open, Warm
from app.leases import Keeper, Lease
from app.log import ids
from app.ports import Runtime, Sandbox
from app.queue import Wakes
from app.states import CallState

log = structlog.get_logger()

CUT_SHORT = "The runner was told to stop while this ran. Check how far it came before you run it again.\n"


@dataclass(frozen=True, slots=True)
class Host:
    """One runner process's means of working on sandboxes."""

    db: Database
    keeper: Keeper
    wakes: Wakes
    runtimes: Mapping[str, Runtime]
    warm: Warm
    place: Callable[[str], Place]
    """Where calls of a runtime are run here."""
    limits: Limits
    draining: threading.Event


def work(host: Host, runtime: str, sandbox: UUID) -> None:
    """Take the sandbox's lane and run its calls, and then those of the sandboxes that waited for a slot.

    Here and now rather than through the queue: while more sandboxes have work than there are slots, no slot is to be
    idle for as long as a wake takes.
    """
    tried, elsewhere = {sandbox}, set[UUID]()
    waiting = work_on(host, runtime, sandbox)
    while waiting and not host.draining.is_set():
        tried.add(waiting.id)
        place = host.place(waiting.runtime if waiting.runtime in host.runtimes else runtime)
        if waiting.runtime in host.runtimes and (waiting.runner is None or waiting.workspace == place.workspace):
            # Where another was faster, the next one.
            waiting = work_on(host, waiting.runtime, waiting.id) or calls.starved(host.db, place, tried)
            continue
        if waiting.id not in elsewhere:
            elsewhere.add(waiting.id)
            host.wakes.sandbox(waiting.id, waiting.runtime, waiting.runner)
        waiting = calls.starved(host.db, place, tried)


def work_on(host: Host, runtime: str, sandbox: UUID) -> Starved | None:
    """Work one sandbox's lane. Returns another sandbox that has calls, if the last calls' end showed one."""
    place = host.place(runtime)
    asked_at = time.monotonic()
    generation = host.warm.generation(sandbox)
    claim = calls.take(host.db, sandbox, place, owner=host.keeper.owner, warm_generation=generation)
    if claim is None:
        return None
    lease = host.keeper.hold("sandbox", sandbox, claim.token, asked_at)
    try:
        return work_lane(host, sandbox, claim, place, lease)
    except LeaseLost as error:
        log.warning("lane_lost", sandbox=str(sandbox), error=error.message)
        return None
    finally:
        host.keeper.drop(lease)


def work_lane(host: Host, sandbox: UUID, claim: Claim, place: Place, lease: Lease) -> Starved | None:
    if claim.orphans:
        for thread in calls.settle(host.db, sandbox, claim):
            host.wakes.thread(thread)
        generation = host.warm.generation(sandbox)
        claim = calls.begin_more(host.db, sandbox, claim.token, place, warm_generation=generation)
    while claim.calls:
        lease.turns = {call.turn for call in claim.calls}
        lease.calls = [call.id for call in claim.calls]
        finished = run_batch(host, sandbox, claim, lease)
        for thread in finished.threads:
            host.wakes.thread(thread)
        if finished.released:
            return finished.starved
        if host.draining.is_set():
            break
        generation = host.warm.generation(sandbox)
        claim = calls.begin_more(host.db, sandbox, claim.token, place, warm_generation=generation)
    calls.give_back(host.db, sandbox, claim)
    return None


def run_batch(host: Host, sandbox: UUID, claim: Claim, lease: Lease) -> Finished:
    """Run the claimed calls and commit their ends together."""
    try:
        opened = host.warm.take(sandbox, claim.generation, lambda: open_anew(host, claim))
    except HeyfleetError as error:
        for call in claim.calls:
            with ids_of(call):
                log.warning("sandbox_not_opened", sandbox=str(sandbox), error=error.message, detail=error.detail)
        failed = [
            Ended(call, CallState.FAILED, f"The sandbox can't be opened: {error.message}") for call in claim.calls
        ]
        return calls.finish(host.db, sandbox, claim, failed, lease, snapshot=None)
    try:
        done = run_side_by_side(host, claim, opened, lease)
        snapshot = opened.snapshot_if_changed() if any(changed for _, changed in done) else None
        ended = [end for end, _ in done]
        finished = calls.finish(host.db, sandbox, claim, ended, lease, snapshot=snapshot)
    except BaseException:
        # What the commands did to it may not be stored: the next call must start from what is.
        opened.sandbox.close()
        raise
    opened.generation = finished.generation
    host.warm.keep(sandbox, opened)
    return finished


def ids_of(call: Begun) -> AbstractContextManager[None]:
    return ids(trace=call.trace, thread=call.thread, turn=call.turn)


def open_anew(host: Host, claim: Claim) -> Sandbox:
    told: tracing.Attributes = {
        "heyfleet.runtime": claim.runtime,
        "heyfleet.snapshot_bytes": len(claim.snapshot or b""),
    }
    with tracing.span(f"open sandbox {claim.runtime}", claim.calls[0].trace, told, turn=True):
        return host.runtimes[claim.runtime].open(claim.scope_key, claim.snapshot)


def run_side_by_side(host: Host, claim: Claim, opened: Open, lease: Lease) -> list[tuple[Ended, bool]]:
    def run(call: Begun) -> tuple[Ended, bool]:
        with ids_of(call), tracing.tool(call.tool, call.id, call.trace) as span:
            ended, changed = run_call(host, call, opened, lease)
            tracing.call_ended(span, ended.state.value, {"heyfleet.runtime": claim.runtime})
            return ended, changed

    if len(claim.calls) == 1:
        return [run(claim.calls[0])]
    with ThreadPoolExecutor(max_workers=len(claim.calls)) as pool:
        return list(pool.map(run, claim.calls))


def run_call(host: Host, call: Begun, opened: Open, lease: Lease) -> tuple[Ended, bool]:
    """Run one call. How it ended, and whether the sandbox may be different now."""
    if call.cancelled:
        return Ended(call, CallState.CANCELLED, "cancelled before it began"), False
    began = time.monotonic()
    try:
        put_inbox(host, call, opened)
        done = operate(call.tool, opened.sandbox, call.args, host.limits, lease.of(call.turn))
    except HeyfleetError as error:
        return Ended(call, CallState.FAILED, error.message), True
    except Exception as error:
        # A defect in a runtime is a result for the model, not the end of the lane.
        log.exception("call_failed", call=str(call.id), tool=call.tool)
        return Ended(call, CallState.FAILED, f"{type(error).__name__}: {error}"), True
    finally:
        meters.observe("call_seconds", time.monotonic() - began, tool=call.tool)
    return ended_as(call, done, lease), done.changed


def ended_as(call: Begun, done: Done, lease: Lease) -> Ended:
    if done.ended is None or done.ended.ended == "exited":
        return Ended(call, CallState.DONE, done.text, done.files)
    if done.ended.ended == "timeout":
        return Ended(call, CallState.FAILED, done.text)
    if call.turn in lease.cancelled:
        return Ended(call, CallState.CANCELLED, done.text)
    return Ended(call, CallState.INTERRUPTED, CUT_SHORT + done.text)


def put_inbox(host: Host, call: Begun, opened: Open) -> None:
    """Put the files that came with the thread's messages into the sandbox, before its calls; each of them once."""
    if not call.files:
        return
    with opened.filling:
        for file in calls.inbox_files(host.db, call.turn, opened.inbox):
            opened.sandbox.store(f"inbox/{file.name}", bytes(file.body))
            opened.inbox.add(file.id)
