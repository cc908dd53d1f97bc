"""What a trace shows of a turn and what a request costs, in the words of OpenTelemetry's conventions for generative AI.

https://github.com/open-telemetry/semantic-conventions-genai
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app import meters, tracing
from app.leases import Lease
from app.ports import Model, Prompt
from app.queue import THREAD_TASK, TURNS
from app.results import Answer
from app.states import TurnState
from app.turns.commit import Outcome
from app.turns.facts import Facts, TurnFacts
from app.turns.services import TurnServices

PROVIDERS = {"google": "gcp.gemini", "bedrock": "aws.bedrock", "xai": "x_ai"}
"""What the conventions call them, where that is another name than ours."""


@contextmanager
def working(facts: Facts) -> Iterator[None]:
    """A worker holds the lane, and works on the turn until that has to wait or ends."""
    turn = facts.current
    if turn is None:
        yield
        return
    told: tracing.Attributes = {
        "messaging.system": "celery",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": TURNS,
        "heyfleet.turn.id": str(turn.id),
        "heyfleet.turn.first": turn.begins,
    }
    with tracing.span(f"process {THREAD_TASK}", turn.trace, told, kind="consumer", turn=True):
        yield


def asked(
    s: TurnServices,
    facts: Facts,
    turn: TurnFacts,
    model: Model,
    prompt: Prompt,
    lease: Lease,
    on_text: Callable[[str], None] | None = None,
    *,
    compacting: bool = False,
) -> Answer:
    """Ask the model; see `app.ports.Model.ask`. `compacting`: for a summary, and not for the turn's next step."""
    alias = s.settings.models.get(model.name)
    provider, _, name = (alias.model if alias else model.name).partition("/")
    told: tracing.Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDERS.get(provider, provider),
        "gen_ai.request.model": name,
        "gen_ai.request.stream": on_text is not None,
        "gen_ai.conversation.id": str(facts.thread),
        "gen_ai.agent.name": facts.agent,
        "heyfleet.step": None if compacting else turn.step_count + 1,
        "heyfleet.attempt": None if compacting else turn.failed_attempts + 1,
        "heyfleet.compacting": compacting or None,
    }
    with s.pace.away(), tracing.span(f"chat {name}", turn.trace, told, kind="client", turn=True) as span:
        answer = model.ask(prompt, cancel=lease, on_text=on_text)
        paid(answer)
        span.note(
            {
                "gen_ai.response.model": answer.model,
                "gen_ai.usage.input_tokens": answer.usage.input_tokens,
                "gen_ai.usage.output_tokens": answer.usage.output_tokens,
                "heyfleet.cost_dollars": answer.usage.cost,
                "heyfleet.calls": len(answer.calls),
            }
        )
        return answer


def paid(answer: Answer) -> None:
    """Whatever becomes of the answer, and what it was for: it has been paid for."""
    usage = answer.usage
    meters.count("tokens_total", usage.input_tokens or 0, model=answer.model, kind="input")
    meters.count("tokens_total", usage.output_tokens or 0, model=answer.model, kind="output")
    meters.count("cost_dollars_total", usage.cost or 0, model=answer.model)


def ended(facts: Facts, turn: TurnFacts, outcome: Outcome) -> None:
    """The whole of a turn, from its first step on; or of a command, which asks no model but may run something."""
    verb = turn.command.partition(" ")[0] if turn.command is not None else None
    name = f"invoke_agent {facts.agent}" if verb is None else f"obey {verb}"
    told: tracing.Attributes = {
        "gen_ai.operation.name": "invoke_agent" if verb is None else None,
        "gen_ai.agent.name": facts.agent,
        "gen_ai.conversation.id": str(facts.thread),
        "heyfleet.adapter": facts.adapter,
        "heyfleet.turn.id": str(turn.id),
        "heyfleet.turn.state": outcome.state.value,
        "heyfleet.turn.steps": outcome.step_count,
    }
    failed = "" if outcome.state in (TurnState.DONE, TurnState.CANCELLED) else outcome.state.value
    tracing.past(
        name,
        turn.trace,
        facts.since(turn.started_at or facts.now),
        told,
        turn=True,
        error=failed,
    )
