"""What the real chat-completions API refuses, so that a request which the fake takes is one that it takes too.

Each rule was learnt from the API reference (https://platform.openai.com/docs/api-reference/chat/create); where servers
differ, the strictest one counts: some parse the arguments of earlier tool calls, so they must be a JSON object here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ROLES = {"system", "developer", "user", "assistant", "tool"}
PARTS = {"text", "image_url", "input_audio", "file", "refusal"}
LONGEST_CALL_ID = 40

NUMBER: tuple[type, ...] = (int, float)
FIELDS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "messages": (list,),
    "tools": (list,),
    "tool_choice": (str, dict),
    "parallel_tool_calls": (bool,),
    "stream": (bool,),
    "stream_options": (dict,),
    "temperature": NUMBER,
    "top_p": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "max_tokens": (int,),
    "max_completion_tokens": (int,),
    "seed": (int,),
    "stop": (str, list),
    "n": (int,),
    "user": (str,),
    "reasoning_effort": (str,),
    "response_format": (dict,),
    "metadata": (dict,),
    "store": (bool,),
    "prompt_cache_key": (str,),
    "safety_identifier": (str,),
    "service_tier": (str,),
    "verbosity": (str,),
}


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """An answer that is an error of the API."""

    status: int
    message: str
    code: str | None = None
    kind: str = "invalid_request_error"

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": None, "code": self.code}}


def check_key(authorization: str, api_key: str | None) -> None:
    """Raise the 401 of a request without a bearer key, or with another one than `api_key` where that is set."""
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refusal(401, "You didn't provide an API key.", "missing_api_key")
    if api_key is not None and key.strip() != api_key:
        # OpenAI shows a part of the key; there are servers that show all of it.
        raise Refusal(401, f"Incorrect API key provided: {key}.", "invalid_api_key")


def check(body: Any, models: frozenset[str]) -> None:
    """Raise the 400 or 404 of a request body that the API refuses. Empty `models` means any model exists."""
    if not isinstance(body, dict):
        raise Refusal(400, "We could not parse the JSON body of your request.")
    for field, value in body.items():
        if field not in FIELDS:
            raise Refusal(400, f"Unrecognized request argument supplied: {field}")
        # bool is an int in Python, not in JSON.
        if not isinstance(value, FIELDS[field]) or (isinstance(value, bool) and bool not in FIELDS[field]):
            raise Refusal(400, f"Invalid type for '{field}': got {type(value).__name__}.", "invalid_type")
    for field in ("model", "messages"):
        if not body.get(field):
            raise Refusal(400, f"Missing required parameter: '{field}'.", "missing_required_parameter")
    if models and body["model"] not in models:
        raise Refusal(404, f"The model `{body['model']}` does not exist.", "model_not_found")
    check_options(body)
    check_tools(body)
    check_messages(body["messages"])


def check_options(body: Mapping[str, Any]) -> None:
    if not 0 <= body.get("temperature", 0) <= 2:
        raise Refusal(400, "Invalid 'temperature': expected a value from 0 to 2.", "decimal_above_max_value")
    for field in ("max_tokens", "max_completion_tokens"):
        if body.get(field, 1) < 1:
            raise Refusal(400, f"Invalid '{field}': integer below minimum value.", "integer_below_min_value")
    if "stream_options" in body and not body.get("stream"):
        raise Refusal(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")


def check_tools(body: Mapping[str, Any]) -> None:
    if "tools" not in body:
        for field in ("tool_choice", "parallel_tool_calls"):
            if field in body:
                raise Refusal(400, f"'{field}' is only allowed when 'tools' are specified.")
        return
    if not body["tools"]:
        raise Refusal(400, "Invalid 'tools': empty array.", "empty_array")
    names: list[str] = []
    for place, tool in enumerate(body["tools"]):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            raise Refusal(400, f"Invalid 'tools[{place}]': expected a function.")
        check_tool(function, f"tools[{place}].function")
        names.append(function["name"])
    if twice := {name for name in names if names.count(name) > 1}:
        raise Refusal(400, f"Invalid 'tools': names are there twice: {', '.join(sorted(twice))}.")


def check_tool(function: Mapping[str, Any], at: str) -> None:
    name = function.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refusal(400, f"Invalid '{at}.name': string does not match pattern.")
    parameters = function.get("parameters", {"type": "object"})
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        raise Refusal(400, f"Invalid schema for function '{name}': schema must be of 'type: \"object\"'.")
    if not isinstance(function.get("description", ""), str):
        raise Refusal(400, f"Invalid type for '{at}.description'.", "invalid_type")


def check_messages(messages: list[Any]) -> None:
    """Each message's shape, and that every tool call is answered once before anything else is said."""
    open_calls: set[str] = set()
    answered: set[str] = set()
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Refusal(400, f"Invalid value for '{where}.role'.", "invalid_value")
        if message["role"] == "tool":
            call_id = message.get("tool_call_id")
            if call_id in answered:
                raise Refusal(400, f"Duplicate value for 'tool_call_id' of '{call_id}' in '{where}'.")
            if call_id not in open_calls:
                text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                raise Refusal(400, f"Invalid parameter: {text} ({where})")
            open_calls.discard(call_id)
            answered.add(call_id)
            check_content(message, where)
            continue
        all_answered(open_calls, where)
        answered = set()
        if message["role"] == "assistant":
            open_calls = set(check_assistant(message, where))
        else:
            check_content(message, where)
    all_answered(open_calls, "the end")


def all_answered(open_calls: set[str], where: str) -> None:
    if open_calls:
        text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        missing = ", ".join(sorted(open_calls))
        raise Refusal(400, f"{text}'tool_call_id'. These had no response before {where}: {missing}")


def check_assistant(message: Mapping[str, Any], where: str) -> Iterator[str]:
    """The ids of the message's tool calls."""
    calls = message.get("tool_calls")
    if calls is None:
        check_content(message, where)
        return
    if not isinstance(calls, list) or not calls:
        raise Refusal(400, f"Invalid '{where}.tool_calls': empty array.", "empty_array")
    seen: set[str] = set()
    for index, call in enumerate(calls):
        at = f"{where}.tool_calls[{index}]"
        call_id = call.get("id")
        if not isinstance(call_id, str) or not 0 < len(call_id) <= LONGEST_CALL_ID:
            raise Refusal(400, f"Invalid '{at}.id': expected a string of 1 to {LONGEST_CALL_ID} characters.")
        if call_id in seen:
            raise Refusal(400, f"Duplicate value for 'tool_call_id' of '{call_id}' in '{at}'.")
        seen.add(call_id)
        check_function(call, at)
        yield call_id


def check_function(call: Mapping[str, Any], at: str) -> None:
    function = call.get("function")
    if call.get("type") != "function" or not isinstance(function, dict):
        raise Refusal(400, f"Invalid '{at}': expected a function.")
    if not isinstance(function.get("name"), str) or not NAME.fullmatch(function["name"]):
        raise Refusal(400, f"Invalid '{at}.function.name': string does not match pattern.")
    try:
        parsed = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError):
        raise Refusal(400, f"Invalid '{at}.function.arguments': not JSON.") from None
    if not isinstance(parsed, dict):
        raise Refusal(400, f"Invalid '{at}.function.arguments': expected an object.")


def check_content(message: Mapping[str, Any], where: str) -> None:
    content = message.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        raise Refusal(400, f"Invalid value for '{where}.content': expected a string.", "invalid_type")
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in PARTS:
            raise Refusal(400, f"Invalid value in '{where}.content'.", "invalid_value")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise Refusal(400, f"Invalid type for '{where}.content.text'.", "invalid_type")
