"""From the facts to what the model is asked: the new parts of the prompt, and where the transcript begins."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.ports import Image, ToolResult, UserText
from app.turns.facts import CallFacts, Facts, TurnFacts
from app.turns.next import Ask

PICTURE = re.compile(r'"data": "[A-Za-z0-9+/_=-]{1000,}"')
PICTURE_TOKENS = "x" * 4 * 1500
"""A picture is counted by its size in pixels, not by its bytes; 1500 tokens are a large one."""

NO_RESULT = "(no result: the turn was ended before)"

SCHEDULED = (
    "The job {name} started this by its schedule; no person wrote it, and nobody waits for an answer. "
    "Your reply is sent to the channel. If there is nothing worth saying there, reply with exactly [SILENT]: "
    "then nothing is sent."
)


def news(
    action: Ask, *, summarised: bool, images: Mapping[UUID, Sequence[Image]] | None = None
) -> list[UserText | ToolResult]:
    """What the model has not seen yet: results of the last step's calls, then what people said.

    `summarised`: the calls themselves went into a summary, so that their results can only be told as text. `images`:
    those of each turn's message.
    """
    results: list[UserText | ToolResult]
    results = [ToolResult(call.tool_call_id, call.tool, told(call)) for call in action.results]
    if summarised:
        results = [UserText(f"Result of {call.tool}:\n{told(call)}") for call in action.results]
    found = images or {}
    return [*results, *(UserText(user_text(turn), found.get(turn.id, ())) for turn in said_now(action))]


def said_now(action: Ask) -> list[TurnFacts]:
    """The turns whose messages the model has not seen yet."""
    said = [action.turn] if action.turn.step_count == 0 else []
    return [*said, *action.steers]


def told(call: CallFacts) -> str:
    return NO_RESULT if call.result is None else call.result


def user_text(turn: TurnFacts) -> str:
    """A message as the model reads it, with its data and its files behind it."""
    parts = [str(message["text"]) for message in turn.messages]
    parts += [f"Data: {json.dumps(message['data'])}" for message in turn.messages if message["data"]]
    parts += [attached(file) for file in turn.files]
    return "\n\n".join(parts)


def attached(file: Mapping[str, Any]) -> str:
    if file.get("problem"):
        return f"Attached file {file['name']} ({file['media_type']}) can't be read: {file['problem']}."
    head = f"Attached file {file['name']} ({file['media_type']}, {file['size']} bytes)"
    return (
        f"{head}:\n{file['text']}" if file["text"] is not None else f"{head}, in the sandbox as inbox/{file['name']}."
    )


def context_blocks(facts: Facts, turn: TurnFacts) -> dict[str, str]:
    """What the system prompt says about where the conversation happens."""
    # In one line each: a name with line breaks in it must not read like more of the system prompt.
    where = {"channel": " ".join(f"{facts.adapter} {facts.channel}".split())}
    if turn.job is None:
        return {**where, "sender": " ".join(turn.actor.split())}
    return {**where, "schedule": SCHEDULED.format(name=turn.job["name"])}


def estimated_tokens(bodies: Sequence[Mapping[str, Any]]) -> int:
    """A rough count of the tokens of stored messages: four characters of JSON each, which errs to the high side."""
    return sum(len(PICTURE.sub(PICTURE_TOKENS, json.dumps(body))) for body in bodies) // 4
