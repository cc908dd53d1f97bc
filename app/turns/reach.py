"""How a trusted tool reaches its turn's sandbox: by calls of its own, in the sandbox's lane. The model sees none."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from app.clock import uuid7
from app.errors import Cancelled, Permanent, Refused
from app.jsonb import dumps
from app.leases import Lease, insist
from app.policy.classify import classify
from app.policy.patterns import patterns_of
from app.sandbox_lane import LIVE_RUNNER, use_sandbox
from app.states import OPEN_CALLS, CallState
from app.turns.services import TurnServices

SHORTEST_LOOK, LONGEST_LOOK = 0.01, 0.25
"""Seconds between two looks at whether a call has ended."""

# Fenced by the tool's own call: whoever takes the turn over ends that first, and waits for this statement to do so.
# The thread's row is not locked: a runner that holds a sandbox's row rings the threads of the calls that it finishes.
ORDER = f"""
    WITH parent AS (
        SELECT id, turn_id, step_n FROM call
        WHERE id = :parent AND state = 'running'
            AND EXISTS (SELECT 1 FROM thread WHERE id = :thread AND lease_token = :token)
        FOR UPDATE
    ), box AS ({use_sandbox("parent")}), asked AS (
        INSERT INTO call (id, turn_id, step_n, ordinal, tool_call_id, tool, args, place, idempotent, state, parent_id,
            sandbox_id)
        SELECT :call, parent.turn_id, parent.step_n,
            (SELECT max(ordinal) + 1 FROM call WHERE turn_id = parent.turn_id AND step_n = parent.step_n),
            '', :tool, CAST(:args AS jsonb), 'runner', :idempotent, 'queued', parent.id, box.id
        FROM parent, box ON CONFLICT (id) DO NOTHING
    )
    SELECT box.id AS sandbox, {LIVE_RUNNER} AS runner FROM box"""

LOOK = "SELECT state, result FROM call WHERE id = :call"

GIVE_UP = "UPDATE call SET state = 'cancelled', finished_at = now() WHERE id = :call AND state = 'queued' RETURNING id"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the tools of one step work."""

    services: TurnServices
    lease: Lease
    thread: UUID
    agent: str
    runtime: str
    scope_key: str
    patience: float = 120.0
    """Seconds that a call may wait for a runner: meanwhile a thread of the worker waits with it."""
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    """Held while a call is numbered: the tools of a step run side by side."""

    def at(self, call: UUID) -> Reach:
        return Reach(self, call)


class Reach:
    """See `app.ports.SandboxReach`.

    The calls of one tool are numbered: an idempotent tool that is run again after a crash is given the results of
    what it had asked for before, as long as it asks for the same in the same order, and nothing is done twice.
    """

    def __init__(self, bench: Bench, parent: UUID) -> None:
        self.bench = bench
        self._parent = parent
        self._numbers = itertools.count(1)

    def bash(self, command: str, *, timeout: float | None = None) -> str:
        if self.bench.runtime == "guarded":
            self._guard(command)
        args = {"command": command} if timeout is None else {"command": command, "timeout": timeout}
        return self._call("bash", args, idempotent=False)

    def read(self, path: str) -> str:
        return self._call("read", {"path": path}, idempotent=True)

    def write(self, path: str, content: str) -> str:
        return self._call("write", {"path": path, "content": content}, idempotent=True)

    def _guard(self, command: str) -> None:
        """On the host only what the policy allows by itself: a tool can't ask anybody."""
        verdict = classify(command, patterns_of(self.bench.services.settings.policy))
        if verdict.answer != "allow":
            why = "is blocked" if verdict.answer == "block" else "needs an approval, for which a tool can't ask"
            raise Refused(f"not run, it {why}: {verdict.reason}", status=403)

    def _call(self, tool: str, args: Mapping[str, Any], *, idempotent: bool) -> str:
        bench, written = self.bench, dumps(args)
        s = bench.services
        with bench.one_at_a_time:
            call = uuid5(self._parent, f"{next(self._numbers)} {tool} {written}")
            params = {
                "call": call,
                "parent": self._parent,
                "thread": bench.thread,
                "token": bench.lease.token,
                "sandbox": uuid7(),
                "agent": bench.agent,
                "runtime": bench.runtime,
                "scope_key": bench.scope_key,
                "tool": tool,
                "args": written,
                "idempotent": idempotent,
            }
            ordered = insist(s.db, ORDER, params, bench.lease)
        if ordered is None:
            raise Cancelled("the turn goes on in another process")
        s.wakes.sandbox(ordered.sandbox, bench.runtime, ordered.runner)
        return self._result_of(call)

    def _result_of(self, call: UUID) -> str:
        bench, pause = self.bench, SHORTEST_LOOK
        db, began = bench.services.db, time.monotonic()
        while True:
            row = insist(db, LOOK, {"call": call}, bench.lease)
            state = CallState(row.state) if row else CallState.CANCELLED
            if row is None or state == CallState.CANCELLED:
                raise Cancelled("the command was cancelled")
            if state == CallState.DONE:
                return str(row.result)
            if state not in OPEN_CALLS:
                raise Permanent(str(row.result))
            if bench.lease.wait(pause):
                raise Cancelled("the turn was cancelled" if bench.lease.cancelled else "this process ends")
            if time.monotonic() - began > bench.patience and insist(db, GIVE_UP, {"call": call}, bench.lease):
                raise Permanent(
                    f"no runner took the command within {bench.patience:g} s: heyfleet status shows which are alive"
                )
            pause = min(2 * pause, LONGEST_LOOK)
