"""Each provider's wire format, against a server that answers what theirs would."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import pytest
from pydantic_ai.models.openrouter import OpenRouterModel

from app.config.settings import ModelAlias, Settings
from app.errors import Permanent, Transient
from app.llm.lean import LeanOpenAI
from app.llm.providers import Endpoint, connect
from app.llm.registry import Models
from app.ports import Model, Prompt, ToolResult, ToolSpec, UserText
from app.results import Answer
from tests.fakes.openai.http import Connection

NAMES = ["openai/gpt-5.4-mini", "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash"]
KEYS = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"]
BASH = ToolSpec("bash", "Run a command.", {"type": "object", "properties": {"command": {"type": "string"}}})
ARGS = {"command": "ls"}
CALL = {"name": "bash", "args": ARGS}

RESPONSES = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5.4-mini",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "bash", "arguments": json.dumps(ARGS)},
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    },
}
GEMINI = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [{"text": "hello"}, {"functionCall": {"name": "bash", "args": ARGS}}],
            },
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
    "modelVersion": "gemini-2.5-flash",
}
CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "content": []}
CLAUDE_EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**CLAUDE, "usage": {"input_tokens": 10, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "input_json_delta", "partial_json": json.dumps(ARGS)},
    },
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


SYSTEMS = {
    NAMES[0]: ["Be terse.", None, None],
    NAMES[1]: [None, [{"type": "text", "text": "Be terse."}], None],
    NAMES[2]: [None, None, {"role": "user", "parts": [{"text": "Be terse."}]}],
}


class Provider:
    """Answers the three APIs, or with an error where the request says so."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Mapping[str, str], Any]] = []

    async def answer(self, connection: Connection, method: str, path: str, head: Mapping[str, str], raw: bytes) -> None:
        self.got.append((path, head, json.loads(raw)))
        if b"fail please" in raw:
            connection.send(500, {"error": {"message": "failed"}})
        elif b"too fast" in raw:
            connection.send(429, {"error": {"message": "slow down"}}, "retry-after-ms: 2500\r\n")
        elif path == "/v1/responses":
            connection.send(200, RESPONSES)
        elif "generateContent" in path:
            connection.send(200, GEMINI)
        else:
            connection.begin_stream()
            events = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in CLAUDE_EVENTS]
            connection.chunk("".join(events).encode(), last=True)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    found = Provider()
    loop = asyncio.new_event_loop()
    listening = loop.create_server(lambda: Connection(found.answer, lambda *_: None), "127.0.0.1", 0)
    server = loop.run_until_complete(listening)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
    for name in KEYS:
        monkeypatch.setenv(name, f"the {name}")
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield found
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=10)
    server.close()
    loop.close()


def ask(model: Model, *new: UserText | ToolResult, after: tuple[Mapping[str, Any], ...] = ()) -> Answer:
    return model.ask(Prompt("Be terse.", after, new, [BASH]), cancel=threading.Event())


def key_of(head: Mapping[str, str]) -> str:
    keys = [value for name, value in head.items() if name in ("authorization", "x-api-key", "x-goog-api-key")]
    assert len(keys) == 1
    return keys[0].removeprefix("Bearer ")


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_round_trip(provider: Provider, name: str) -> None:
    model = Models(Settings()).get(name)
    asked = ask(model, UserText("hi"))
    assert asked.text == "hello"
    assert [(call.tool, call.args) for call in asked.calls] == [("bash", ARGS)]
    assert (asked.usage.input_tokens, asked.usage.output_tokens) == (10, 5)
    assert asked.usage.cost
    assert asked.model in name

    ask(model, ToolResult(asked.calls[0].tool_call_id, "bash", "a file"), after=(asked.request, asked.response))
    _, head, body = provider.got[-1]
    assert key_of(head) == f"the {dict(zip(NAMES, KEYS, strict=True))[name]}"
    sent = json.dumps(body)
    assert sent.count(asked.calls[0].tool_call_id) == 2
    assert "a file" in sent
    # Nothing of the library's own beside it.
    assert [body.get("instructions"), body.get("system"), body.get("systemInstruction")] == SYSTEMS[name]


@pytest.mark.parametrize("name", NAMES)
def test_failures_are_told_once_and_not_retried_by_the_sdk(provider: Provider, name: str) -> None:
    model = Models(Settings()).get(name)
    with pytest.raises(Transient, match="out of order"):
        ask(model, UserText("fail please"))
    with pytest.raises(Transient) as raised:
        ask(model, UserText("too fast"))
    assert raised.value.retry_after == 2.5
    assert len(provider.got) == 2


def test_an_alias_may_bring_its_own_key(provider: Provider) -> None:
    alias = ModelAlias.model_validate({"model": "anthropic/claude-sonnet-4-6", "api_key": "of the alias"})
    ask(Models(Settings(models={"mine": alias})).get("mine"), UserText("hi"))
    assert key_of(provider.got[-1][1]) == "of the alias"


@pytest.mark.parametrize(
    ("name", "variable"),
    [*zip(NAMES, KEYS, strict=True), ("openrouter/openai/gpt-5.4-mini", "OPENROUTER_API_KEY")],
)
def test_a_missing_key_is_named(name: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("OPENAI_ADMIN_KEY", "GOOGLE_API_KEY", variable):
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(Permanent, match=f"{name} has no credentials: set {variable}"):
        ask(Models(Settings()).get(name), UserText("hi"))


@pytest.mark.parametrize(("name", "package"), [("xai/grok-4", "xai_sdk"), ("bedrock/amazon.nova", "boto3")])
def test_a_missing_package_is_named(name: str, package: str) -> None:
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    extra = name.partition("/")[0]
    with pytest.raises(Permanent, match=rf"install heyfleet\[{extra}\]"):
        ask(Models(Settings()).get(name), UserText("hi"))


def test_a_model_can_be_prepared_before_its_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(Permanent, match="set ANTHROPIC_API_KEY"):
        Models(Settings()).get(NAMES[1]).prepare()
    Models(Settings()).get("demo/echo").prepare()


def test_a_key_is_in_no_printed_form() -> None:
    assert "of the alias" not in repr(Endpoint("router", "openrouter", "m", api_key="of the alias"))


def test_openrouter_is_asked_over_the_lean_client() -> None:
    """Its address can't be changed, so only the client is looked at."""
    model = connect(Endpoint("router", "openrouter", "openai/gpt-5.4-mini", api_key="of the alias"))
    assert isinstance(model, OpenRouterModel)
    client = model.client
    assert isinstance(client, LeanOpenAI)
    assert (client.base_url.host, client.api_key, client.max_retries) == ("openrouter.ai", "of the alias", 0)
