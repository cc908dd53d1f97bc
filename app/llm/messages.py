"""Between heyfleet's prompts and answers and pydantic-ai's messages.

What is stored is pydantic-ai's own serialised form, one message a row, without what is None. The system prompt is not
part of it: it goes along with each request, as it is at that time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from pydantic import ValidationError
from pydantic_ai.messages import (
    BinaryContent,
    InstructionPart,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from app.errors import Permanent
from app.ports import Prompt, ToolResult, ToolSpec, UserText
from app.results import Answer, CallRequest, Usage

log = structlog.get_logger()

SUMMARY = "This is a summary of the conversation so far; the messages themselves are no longer in view.\n\n{text}"
PROBLEM_CHARACTERS = 500


def transcript_of(prompt: Prompt) -> list[ModelMessage]:
    """The earlier messages. Raises Permanent where a stored one can't be read."""
    try:
        return ModelMessagesTypeAdapter.validate_python(prompt.transcript)
    except ValidationError as error:
        raise Permanent("The stored conversation can't be read.", detail=str(error)[:2000]) from error


def request_of(new: Sequence[UserText | ToolResult]) -> ModelRequest:
    """What is new, as the one message that is sent and stored."""
    return ModelRequest(parts=[part_of(part) for part in new])


def part_of(new: UserText | ToolResult) -> UserPromptPart | ToolReturnPart:
    match new:
        case UserText(text, images):
            shown = [BinaryContent(image.content, media_type=image.media_type) for image in images]
            return UserPromptPart([text, *shown] if shown else text)
        case ToolResult(tool_call_id, tool, content):
            return ToolReturnPart(tool_name=tool, content=content, tool_call_id=tool_call_id)


def summary_of(text: str) -> Mapping[str, Any]:
    return stored(ModelRequest(parts=[UserPromptPart(SUMMARY.format(text=text))]))


def stored(message: ModelMessage) -> dict[str, Any]:
    """The message as JSON. What is None or zero is so by default, and would be half of the row."""
    row: dict[str, Any] = ModelMessagesTypeAdapter.dump_python([message], mode="json", exclude_none=True)[0]
    if "usage" in row:
        row["usage"] = {name: value for name, value in row["usage"].items() if value}
    return row


class Toolbox:
    """Tool definitions, converted once for each set of tools: a set is the same as long as its specs are."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._known: dict[tuple[int, ...], tuple[Sequence[ToolSpec], ModelRequestParameters]] = {}

    def parameters(self, prompt: Prompt) -> ModelRequestParameters:
        """The tools and the system prompt of one request."""
        key = tuple(id(spec) for spec in prompt.tools)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= self._most:
                self._known.clear()
            definitions = [definition_of(spec) for spec in prompt.tools]
            # The specs are kept, so that no other object gets their ids.
            known = (list(prompt.tools), ModelRequestParameters(function_tools=definitions))
            self._known[key] = known
        system = [InstructionPart(content=prompt.system)] if prompt.system else []
        return replace(known[1], instruction_parts=system)


def definition_of(spec: ToolSpec) -> ToolDefinition:
    return ToolDefinition(
        name=spec.name, description=spec.description, parameters_json_schema=dict(spec.parameters), strict=False
    )


def answer_of(request: ModelRequest, response: ModelResponse, model: str) -> Answer:
    """The answer, whose calls have the ids and arguments that are stored with the response."""
    calls = calls_of(response)
    text = response.text or ""
    if not text and not calls:
        # A refusal has no parts; what was said instead is among the details.
        text = str((response.provider_details or {}).get("refusal", ""))
    return Answer(
        request=stored(request),
        response=stored(response),
        text=text,
        calls=calls,
        usage=usage_of(response),
        model=response.model_name or model,
    )


def calls_of(response: ModelResponse) -> list[CallRequest]:
    """The tool calls; mends in the response what would be refused when it is sent back as transcript."""
    calls: list[CallRequest] = []
    taken: set[str] = set()
    for number, part in enumerate(response.tool_calls):
        part.tool_call_id = unique_id(part.tool_call_id or f"call_{number}", taken)
        args, problem = arguments_of(part)
        if problem:
            # Some servers parse the arguments of earlier calls, and refuse the request for them.
            part.args = {"INVALID_JSON": str(part.args)[:PROBLEM_CHARACTERS]}
        calls.append(CallRequest(part.tool_call_id, part.tool_name, args, problem))
    return calls


def unique_id(wanted: str, taken: set[str]) -> str:
    """`wanted`, or with a number where another call of the same answer has it: some servers call each one the same."""
    found, number = wanted, 2
    while found in taken:
        found, number = f"{wanted[:32]}_{number}", number + 1
    taken.add(found)
    return found


def arguments_of(part: ToolCallPart) -> tuple[Mapping[str, Any], str]:
    """The arguments, or none and what is wrong with them."""
    if isinstance(part.args, dict):
        return part.args, ""
    if not part.args or not part.args.strip():
        return {}, ""
    try:
        args = json.loads(part.args)
    except ValueError as error:
        return {}, f"The arguments are not valid JSON: {error}."
    if not isinstance(args, dict):
        return {}, "The arguments are not a JSON object."
    return args, ""


def usage_of(response: ModelResponse) -> Usage:
    usage = response.usage
    if not usage.has_values():
        return Usage()
    return Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost=cost_of(response))


def cost_of(response: ModelResponse) -> float | None:
    """US dollars by the price list that comes with the library; None where it does not know the model."""
    try:
        return float(response.cost().total_price)
    except Exception as error:  # noqa: BLE001 (a price list's fault must not cost the answer)
        log.debug("model_cost_unknown", model=response.model_name, error=f"{type(error).__name__}: {error}")
        return None
