"""Compaction: when a transcript grows towards the model's window, its older part becomes a stored summary.

The full transcript stays in Postgres; only what the model is sent changes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from app.audit import event
from app.leases import Lease
from app.ports import Prompt, UserText
from app.turns.commit import Outcome, commit
from app.turns.context import PICTURE, estimated_tokens
from app.turns.facts import Facts, TurnFacts, reread
from app.turns.services import Persona, TurnServices
from app.turns.spans import asked

INSTRUCTIONS = (
    "Summarise the conversation below for yourself, so that you can go on with it without having it at hand. Keep "
    "facts, decisions, names, numbers, file paths, open questions and what was promised. Leave out greetings."
)
RECENT_CHARACTERS = 4000
"""Of the latest part, kept word for word behind the summary."""


def due(facts: Facts, persona: Persona, share: float) -> bool:
    """Whether the transcript has passed its share of the model's context window."""
    if not facts.entries or facts.entries[-1].kind == "summary":
        return False
    bodies = [entry.body for entry in facts.entries]
    return estimated_tokens(bodies) > share * persona.model.context_window


def compact(s: TurnServices, facts: Facts, turn: TurnFacts, persona: Persona, lease: Lease) -> Facts:
    """Ask the model for a summary, store it as the transcript's new beginning, and read the facts anew.

    Raises what `Model.ask` raises, and LeaseLost.
    """
    started = time.monotonic()
    told = as_text([entry.body for entry in facts.entries])
    # Half of the window, at four characters a token: the request itself must fit whatever the estimate was.
    fitting = shortened(told, persona.model.context_window * 2)
    prompt = Prompt(INSTRUCTIONS, (), [UserText(fitting)], ())
    answer = asked(s, facts, turn, persona.model, prompt, lease, compacting=True)
    seq = facts.entries[-1].seq + 1
    text = f"{answer.text}\n\nThe latest part, word for word:\n{told[-RECENT_CHARACTERS:]}"
    noted = event(
        "transcript_compacted",
        trace=turn.trace,
        turn=turn.id,
        entries=len(facts.entries),
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        cost=answer.usage.cost,
    )
    outcome = Outcome(
        state=turn.state,
        step_count=turn.step_count,
        failed_attempts=turn.failed_attempts,
        worked_ms=turn.worked_ms + round((time.monotonic() - started) * 1000),
        hold=True,
        entries=[{"seq": seq, "kind": "summary", "body": persona.model.summary(text)}],
        context_from=seq,
        events=[noted],
    )
    commit(s.db, facts, turn, outcome, lease)
    return reread(s.db, facts, lease)


def as_text(bodies: Sequence[Mapping[str, Any]]) -> str:
    """Stored messages as plain lines: what was said, called and returned."""
    lines: list[str] = []
    for body in bodies:
        for part in body.get("parts", ()):
            said = part.get("content")
            if part.get("part_kind") == "tool-call":
                said = f"{part.get('tool_name')}({part.get('args')})"
            text = said if isinstance(said, str) else PICTURE.sub('"data": "…"', json.dumps(said))
            lines.append(f"{part.get('part_kind', 'part')}: {text}")
    return "\n".join(lines)


def shortened(text: str, most: int) -> str:
    """The text, or its end where it is longer."""
    return text if len(text) <= most else f"[…]\n{text[-most:]}"
