"""What the fake answers: directives in the last user message, over the server's defaults, make the script of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

QUOTED = r'"(?:[^"\\]|\\.)*"'
DIRECTIVES = re.compile(rf"\[\[((?:{QUOTED}|[^\"\]]|\](?!\]))*)\]\]", re.DOTALL)
DIRECTIVE = re.compile(rf"(\w+)(?:=({QUOTED}|[^\s\"]+))?", re.DOTALL)
ESCAPED = re.compile(r'\\(["\\n])')
PIECE = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, slots=True)
class Script:
    """How one request is answered. Field names are the directives' names."""

    first_token_ms: float = 0
    per_token_ms: float = 0
    tokens: int | None = None
    """Words of the reply; an echo where unset."""
    reply: str | None = None
    tools: int = 0
    """Rounds of tool calls before the reply."""
    parallel: int = 1
    """Calls in each of them."""
    command: str = "echo hello"
    tool: str = "bash"
    args: str | None = None
    """The call's arguments as JSON, instead of those for `command`."""
    times: int | None = None
    """How often a user text is answered with the misbehaviours below; every time where unset."""
    status: int = 200
    retry_after: str | None = None
    """Seconds or an HTTP date, sent as it is."""
    code: str | None = None
    """The error's code, such as insufficient_quota."""
    hang: float = 0
    """Seconds of silence before the answer."""
    malformed: str = ""
    """json (no JSON), choices (none), nothing (no body), cut (ends in the middle), unfinished (a stream that ends in
    good order but without a finish reason), arguments (of a call are no JSON), no_id (of a call), same_id (twice)."""
    drop: bool = False
    """Close the connection without an answer."""
    context_overflow: int | None = None
    """Refuse as too long what has more characters than this; 0, or no value, refuses everything."""

    def without_misbehaviour(self) -> Script:
        return replace(self, status=200, hang=0, malformed="", drop=False, context_overflow=None)


KINDS = {field.name: str(field.type).removesuffix(" | None") for field in fields(Script)}


def script_of(text: str, defaults: Script) -> Script:
    """The script that a user text asks for. Raises ValueError for a directive that does not exist."""
    if "[[" not in text:
        return defaults
    found: dict[str, Any] = {}
    for block in DIRECTIVES.findall(text):
        for name, value in DIRECTIVE.findall(block):
            if name not in KINDS:
                raise ValueError(f"no directive is named {name}; there are: {', '.join(KINDS)}")
            found[name] = read(KINDS[name], value)
    return replace(defaults, **found)


def read(kind: str, value: str) -> Any:
    if value.startswith('"'):
        value = ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], value[1:-1])
    match kind:
        case "int":
            return int(value or 0)
        case "float":
            return float(value)
        case "bool":
            return value != "0"
        case _:
            return value


def last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            content = message["content"]
            return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    return ""


def rounds_done(messages: Sequence[Mapping[str, Any]]) -> int:
    """How often tools were called since the last user message."""
    done = 0
    for message in reversed(messages):
        if message["role"] == "user":
            break
        done += bool(message.get("tool_calls"))
    return done


def message_of(script: Script, body: Mapping[str, Any], text: str, serial: int) -> dict[str, Any]:
    """The assistant's message: tool calls while rounds are left and the tool is on offer, then the reply."""
    offered = {tool["function"]["name"] for tool in body.get("tools", ())}
    if script.tool in offered and rounds_done(body["messages"]) < script.tools:
        return {"role": "assistant", "content": None, "tool_calls": calls_of(script, serial)}
    return {"role": "assistant", "content": reply_of(script, text)}


def calls_of(script: Script, serial: int) -> list[dict[str, Any]]:
    arguments = script.args if script.args is not None else json.dumps({"command": script.command})
    if script.malformed == "arguments":
        arguments = arguments[:-1]
    calls: list[dict[str, Any]] = []
    for n in range(script.parallel):
        call_id = f"call_{serial}_{0 if script.malformed == 'same_id' else n}"
        call = {"id": call_id, "type": "function", "function": {"name": script.tool, "arguments": arguments}}
        if script.malformed == "no_id":
            call["id"] = ""
        calls.append(call)
    return calls


def reply_of(script: Script, text: str) -> str:
    if script.reply is not None:
        return script.reply
    if script.tokens is not None:
        return " ".join(f"word{n}" for n in range(script.tokens))
    return DIRECTIVES.sub("", text).strip() or "ok"


def pieces(text: str) -> list[str]:
    """The text cut into what counts as its tokens."""
    return PIECE.findall(text)


def deltas_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A message as the deltas of a stream: the role first, then one for each token, or two for each call."""
    if "tool_calls" not in message:
        yield {"role": "assistant", "content": ""}
        for piece in pieces(message["content"]):
            yield {"content": piece}
        return
    yield {"role": "assistant", "content": None}
    for index, call in enumerate(message["tool_calls"]):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        begun = {"index": index, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
        yield {"tool_calls": [begun]}
        half = len(arguments) // 2
        for part in (arguments[:half], arguments[half:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}
