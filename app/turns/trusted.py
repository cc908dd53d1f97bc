"""Trusted tools, run in the worker that holds the turn's lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import structlog

from app import tracing
from app.errors import Cancelled, HeyfleetError
from app.ports import Cancel, SandboxReach, Tool, WorkerTool
from app.results import shortened
from app.states import CallState
from app.turns.facts import CallFacts, TurnFacts
from app.turns.reach import Bench

log = structlog.get_logger()

SIDE_BY_SIDE = 8


@dataclass(frozen=True, slots=True)
class Context:
    """What a trusted tool is told of the turn; see `app.ports.ToolContext`."""

    actor: str
    trace: str
    thread: UUID
    idempotency_key: str
    """The same in every run of one call."""
    cancel: Cancel
    sandbox: SandboxReach


def run_calls(
    bench: Bench, turn: TurnFacts, calls: Sequence[CallFacts], tools: Mapping[str, Tool]
) -> list[dict[str, str]]:
    """Run the calls, side by side where there are several; results as `{id, state, result}` in their order.

    A call that was stopped because the process ends has none: whoever takes the lane next decides about it.
    """

    def run(call: CallFacts) -> dict[str, str] | None:
        context = Context(turn.actor, turn.trace, bench.thread, str(call.id), bench.lease, bench.at(call.id))
        try:
            with tracing.tool(call.tool, call.id, turn.trace) as span:
                state, result = run_call(call, tools.get(call.tool), context)
                tracing.call_ended(span, state.value)
        except Cancelled as error:
            if bench.lease.stopped and not bench.lease.cancelled:
                return None
            state, result = CallState.FAILED, error.message
        return {"id": str(call.id), "state": state.value, "result": result}

    if len(calls) == 1:
        found = [run(calls[0])]
    else:
        with ThreadPoolExecutor(max_workers=min(SIDE_BY_SIDE, len(calls))) as pool:
            # Each in a copy of what this thread knows: the ids for its log lines, and the span that it is in.
            contexts = [copy_context() for _ in calls]
            found = list(pool.map(lambda context, call: context.run(run, call), contexts, calls))
    return [result for result in found if result is not None]


def run_call(call: CallFacts, tool: Tool | None, context: Any) -> tuple[CallState, str]:
    """How the call ended. Raises Cancelled where the tool gave up because it is not wanted any more."""
    if tool is None or tool.place != "worker":
        return CallState.FAILED, f"The tool {call.tool} is not there any more."
    try:
        result = cast(WorkerTool, tool).run(context, call.args)
    except Cancelled:
        raise
    except HeyfleetError as error:
        return CallState.FAILED, error.message
    except Exception as error:
        # A tool is somebody else's code: its failure is a result for the model and never the turn's end.
        log.exception("tool_failed", tool=call.tool, call=str(call.id))
        return CallState.FAILED, f"{type(error).__name__}: {error}"
    return CallState.DONE, shortened(result)
