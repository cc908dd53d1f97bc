"""The fake's own part: checks a request, finds the script for it, plays it, and remembers what it saw."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.fakes.openai.http import Connection
from tests.fakes.openai.rules import Refusal, check, check_key
from tests.fakes.openai.script import Script, deltas_of, last_user_text, message_of, pieces, script_of


@dataclass(slots=True)
class Seen:
    """What the server got so far; `GET /_stats`."""

    requests: int = 0
    by_text: dict[str, int] = field(default_factory=dict[str, int])
    """Requests by their last user text."""
    answers: dict[str, int] = field(default_factory=dict[str, int])
    """By status."""
    refused: list[str] = field(default_factory=list[str])
    """Why, for each request that broke a rule of the API."""
    waiting: int = 0
    most_waiting: int = 0
    aborted: int = 0
    """Requests whose client went away before the answer's end."""
    connections: int = 0
    """Opened so far."""
    last: Any = None
    """The body of the last request that was taken."""


class Service:
    """One server's settings and memory. Empty `models` means that any model exists."""

    def __init__(self, defaults: Script, api_key: str | None, models: frozenset[str]) -> None:
        self.defaults = defaults
        self.api_key = api_key
        self.models = models
        self.seen = Seen()

    def connection(self) -> Connection:
        self.seen.connections += 1
        return Connection(self.answer, self.gone)

    def gone(self, connection: Connection, waiting: bool) -> None:
        self.seen.aborted += waiting

    async def answer(self, connection: Connection, method: str, path: str, head: Mapping[str, str], raw: bytes) -> None:
        try:
            match method, path:
                case "POST", "/v1/chat/completions":
                    await self.complete(connection, head, raw)
                case "GET", "/v1/models":
                    names = sorted(self.models) or ["fake"]
                    models = [{"id": name, "object": "model", "created": 0, "owned_by": "fake"} for name in names]
                    connection.send(200, {"object": "list", "data": models})
                case "GET", "/_stats":
                    connection.send(200, asdict(self.seen))
                case _:
                    raise Refusal(404, f"Unknown request URL: {method} {path}.", "unknown_url")
        except Refusal as refusal:
            self.seen.refused.append(refusal.message)
            self.count(refusal.status)
            connection.send(refusal.status, refusal.body())

    async def complete(self, connection: Connection, head: Mapping[str, str], raw: bytes) -> None:
        seen = self.seen
        seen.requests += 1
        check_key(head.get("authorization", ""), self.api_key)
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        check(body, self.models)
        text = last_user_text(body["messages"])
        seen.last = body
        seen.by_text[text] = seen.by_text.get(text, 0) + 1
        try:
            script = script_of(text, self.defaults)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        if script.times is not None and seen.by_text[text] > script.times:
            script = script.without_misbehaviour()
        seen.waiting += 1
        seen.most_waiting = max(seen.most_waiting, seen.waiting)
        try:
            await self.perform(connection, script, body, text, len(raw))
        finally:
            seen.waiting -= 1

    async def perform(self, connection: Connection, script: Script, body: Any, text: str, size: int) -> None:
        if script.hang:
            await asyncio.sleep(script.hang)
        if script.drop:
            connection.close()
            return
        if script.context_overflow is not None and size > script.context_overflow:
            limit = script.context_overflow
            raise Refusal(400, f"This model's maximum context length is {limit} tokens.", "context_length_exceeded")
        if script.status != 200:
            headers = f"retry-after: {script.retry_after}\r\n" if script.retry_after else ""
            error = Refusal(script.status, f"The fake was told to answer {script.status}.", script.code, "fake_error")
            self.count(script.status)
            connection.send(script.status, error.body(), headers)
            return
        serial = self.seen.requests
        message = message_of(script, body, text, serial)
        words = len(pieces(message["content"] or "")) or 1
        usage = {"prompt_tokens": size // 4, "completion_tokens": words, "total_tokens": size // 4 + words}
        about = {"id": f"chatcmpl-{serial}", "created": int(time.time()), "model": body["model"]}
        if body.get("stream"):
            with_usage = body.get("stream_options", {}).get("include_usage")
            await self.stream(connection, script, message, about, usage if with_usage else None)
        else:
            if wait := script.first_token_ms + script.per_token_ms * (words - 1):
                await asyncio.sleep(wait / 1000)
            self.whole(connection, script, message, {**about, "usage": usage})

    def whole(self, connection: Connection, script: Script, message: Any, about: Mapping[str, Any]) -> None:
        finish = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        body = {**about, "object": "chat.completion", "choices": [choice]}
        self.count(200)
        match script.malformed:
            case "json":
                connection.send_bytes(200, b"<html>this is no JSON</html>")
            case "choices":
                connection.send(200, {"id": "chatcmpl-none"})
            case "nothing":
                connection.send_bytes(200, b"")
            case "cut":
                connection.send_bytes(200, json.dumps(body).encode(), missing=20)
                connection.close()
            case _:
                connection.send(200, body)

    async def stream(self, connection: Connection, script: Script, message: Any, about: Any, usage: Any) -> None:
        if script.first_token_ms:
            await asyncio.sleep(script.first_token_ms / 1000)
        self.count(200)
        connection.begin_stream()
        if script.malformed in WHOLE_STREAMS:
            connection.chunk(WHOLE_STREAMS[script.malformed], last=True)
            return
        about = {**about, "object": "chat.completion.chunk"}
        deltas = list(deltas_of(message))
        if script.malformed in ("cut", "unfinished"):
            deltas = deltas[: len(deltas) // 2 + 1]
        ready: list[bytes] = []
        for n, delta in enumerate(deltas):
            # The role comes with the first token, then one token after the other.
            if n > 1 and script.per_token_ms:
                connection.chunk(b"".join(ready))
                ready.clear()
                await asyncio.sleep(script.per_token_ms / 1000)
            ready.append(event({**about, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
        if script.malformed not in ("cut", "unfinished"):
            finish = "tool_calls" if "tool_calls" in message else "stop"
            ready.append(event({**about, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
            ready += [event({**about, "choices": [], "usage": usage})] if usage else []
            ready.append(b"data: [DONE]\n\n")
        connection.chunk(b"".join(ready), last=script.malformed != "cut")
        if script.malformed == "cut":
            connection.close()

    def count(self, status: int) -> None:
        self.seen.answers[str(status)] = self.seen.answers.get(str(status), 0) + 1


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


WHOLE_STREAMS = {
    "json": b"data: this is no JSON\n\n",
    "choices": event({"id": "chatcmpl-none"}) + b"data: [DONE]\n\n",
    "nothing": b"",
}
