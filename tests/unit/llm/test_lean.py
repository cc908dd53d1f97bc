"""The lean client must send, byte for byte, what the SDK's own would."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from app.llm.lean import LeanOpenAI, OpenAIError, openai_client

MESSAGES: list[ModelMessage] = [
    ModelRequest(parts=[UserPromptPart("list them, ünïcödé 🎈")]),
    ModelResponse(parts=[TextPart("well"), ToolCallPart("bash", {"command": "ls"}, tool_call_id="c1")]),
    ModelRequest(parts=[ToolReturnPart("bash", "a\nb", tool_call_id="c1"), UserPromptPart("and?")]),
]
SCHEMA = {"type": "object", "properties": {"type": {"type": "string", "format": "date"}}, "required": []}
TOOLS = ModelRequestParameters(function_tools=[ToolDefinition(name="bash", parameters_json_schema=SCHEMA)])


def sent_by(client: type[AsyncOpenAI], model: type[OpenAIChatModel | OpenAIResponsesModel], tools: Any) -> Any:
    """What goes over the wire, which ends in an error here."""
    sent: list[bytes] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.content)
        return httpx2.Response(500, json={})

    async def ask() -> None:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(keep))
        sdk = client(api_key="key", base_url="http://server/v1", http_client=http, max_retries=0)
        provider = OpenAIProvider(openai_client=sdk)
        settings = ModelSettings(max_tokens=9, temperature=0.5)
        with pytest.raises(ModelAPIError):
            await model_request(
                model("m", provider=provider), MESSAGES, model_settings=settings, model_request_parameters=tools
            )

    asyncio.run(ask())
    assert len(sent) == 1
    return json.loads(sent[0])


@pytest.mark.parametrize("model", [OpenAIChatModel, OpenAIResponsesModel])
@pytest.mark.parametrize("tools", [TOOLS, None], ids=["tools", "no tools"])
def test_sends_the_same(model: type[OpenAIChatModel | OpenAIResponsesModel], tools: Any) -> None:
    lean = sent_by(LeanOpenAI, model, tools)
    assert lean == sent_by(AsyncOpenAI, model, tools)
    assert "🎈" in json.dumps(lean, ensure_ascii=False)
    assert ("tools" in lean) == (tools is not None)


def test_another_server_gets_nothing_of_openais(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "for-openai-only")
    elsewhere = openai_client(httpx2.AsyncClient(), "http://server/v1", "its-key")
    assert "for-openai-only" not in json.dumps({**elsewhere.default_headers}, default=str)
    assert elsewhere.max_retries == 0
    openai = openai_client(httpx2.AsyncClient(), None, None)
    assert openai.default_headers["OpenAI-Organization"] == "for-openai-only"


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_ADMIN_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OpenAIError):
        openai_client(httpx2.AsyncClient(), None, None)
