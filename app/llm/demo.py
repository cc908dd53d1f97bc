"""demo/echo: the built-in offline model. It says back what it hears, runs what it is told to run (`run: …`), and says
what it is told to say (`say: …`).

It writes the same messages as pydantic-ai, by hand: so a first run needs no such library, and a thread can go on with
another model later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.errors import Cancelled
from app.llm.drafts import Draft
from app.ports import Cancel, Prompt, ToolResult, UserText
from app.results import Answer, CallRequest, Usage

RUN = re.compile(r"^[ \t]*run:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
SAY = re.compile(r"^[ \t]*say:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
ECHO_CHARACTERS = 4000
"""Longer texts are cut: compaction asks for a summary, and an echo of everything would be none."""
HINT = "\n\nI am the demo model: I only repeat what you say, and run commands. Try a line such as:\nrun: ls"


class DemoModel:
    """See `app.ports.Model`. Answers at once, and the same thing each time."""

    def __init__(self, name: str, context_window: int) -> None:
        self.name = name
        self.context_window = context_window
        self.sees = False

    def prepare(self) -> None:
        """Always ready."""

    def ask(self, prompt: Prompt, *, cancel: Cancel, on_text: Callable[[str], None] | None = None) -> Answer:
        """See `app.ports.Model.ask`."""
        if cancel.is_set():
            raise Cancelled("The model request was cancelled.")
        calls = calls_of(prompt)
        text = text_of(prompt, calls)
        if on_text is not None:
            draft = Draft(on_text, self.name)
            for word in re.finditer(r"\S+\s*", text):
                draft.show(text[: word.end()])
        usage = Usage(input_tokens=tokens(str(prompt)), output_tokens=tokens(text), cost=0.0)
        response = {
            "kind": "response",
            "parts": [*([text_part(text)] if text else []), *map(call_part, calls)],
            "model_name": self.name,
            "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
        }
        return Answer(request_of(prompt.new), response, text, calls, usage, self.name)

    def summary(self, text: str) -> Mapping[str, Any]:
        """See `app.ports.Model.summary`."""
        return request_of([UserText(f"This is a summary of the conversation so far:\n\n{text}")])


def calls_of(prompt: Prompt) -> list[CallRequest]:
    """One bash call for each `run:` line of what was said last, if there is a bash."""
    if not has_bash(prompt):
        return []
    commands = RUN.findall(last_text(prompt))
    # The transcript has grown by the next step, so no id comes twice in a thread.
    ids = [f"demo_{len(prompt.transcript)}_{number}" for number in range(len(commands))]
    return [CallRequest(call_id, "bash", {"command": command}) for call_id, command in zip(ids, commands, strict=True)]


def text_of(prompt: Prompt, calls: Sequence[CallRequest]) -> str:
    results = [part.content for part in prompt.new if isinstance(part, ToolResult)]
    said = last_text(prompt)
    texts = [f"It printed:\n{content}" for content in results]
    if said and not calls:
        asked = SAY.findall(said)
        if asked:
            return "\n".join([*texts, *asked])
        cut = said if len(said) <= ECHO_CHARACTERS else f"{said[:ECHO_CHARACTERS]} […]"
        texts.append(f"You said: {cut}")
    text = "\n\n".join(texts)
    return text + HINT if has_bash(prompt) and not (prompt.transcript or calls) else text


def has_bash(prompt: Prompt) -> bool:
    return any(spec.name == "bash" for spec in prompt.tools)


def last_text(prompt: Prompt) -> str:
    said = [part.text for part in prompt.new if isinstance(part, UserText)]
    return said[-1] if said else ""


def tokens(text: str) -> int:
    """A rough count: four characters each."""
    return len(text) // 4


def request_of(new: Sequence[UserText | ToolResult]) -> dict[str, Any]:
    return {"kind": "request", "parts": [request_part(part) for part in new]}


def request_part(new: UserText | ToolResult) -> dict[str, Any]:
    match new:
        case UserText(text=text):
            return {"part_kind": "user-prompt", "content": text}
        case ToolResult(tool_call_id, tool, content):
            return {"part_kind": "tool-return", "tool_name": tool, "content": content, "tool_call_id": tool_call_id}


def text_part(text: str) -> dict[str, Any]:
    return {"part_kind": "text", "content": text}


def call_part(call: CallRequest) -> dict[str, Any]:
    part = {"part_kind": "tool-call", "tool_name": call.tool, "args": dict(call.args)}
    return {**part, "tool_call_id": call.tool_call_id}
