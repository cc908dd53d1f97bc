"""The providers: how a pydantic-ai model is made for each. A provider's library is imported when it is first used.

Credentials are read from their usual variables by the libraries themselves, so that they are in no setting of ours.
The SDKs' own retries are off: a step is retried by the turn loop, which gives the lane back for a long wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from ssl import SSLContext
from typing import Any

import httpx2
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model
from pydantic_ai.profiles import ModelProfile

from app.errors import Permanent

CONNECT_SECONDS = 10.0
IDLE_CONNECTIONS = 16
"""Kept open by each client; httpcore2 looks at all of them for each request."""
IDLE_SECONDS = 30.0
"""Between two steps of a turn lies a tool call; a new TLS connection costs more than keeping one so long."""

KEYS = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GEMINI_API_KEY",
    "xai": "XAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "bedrock": "AWS_DEFAULT_REGION, and AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
}

# Plain JSON Schema is taken by all of them but Google and Anthropic, whose transformers stay. Without one, schemas are
# sent as they are and cost nothing; with it each request walks and copies the schemas of all tools.
AS_THEY_ARE = ModelProfile(json_schema_transformer=None)


@dataclass(frozen=True)
class Endpoint:
    """Where a model is and how it is reached. `name` is what people call it; `timeout` is in seconds."""

    name: str
    provider: str
    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 300.0

    @cached_property
    def tls(self) -> SSLContext:
        """Shared by the clients of this endpoint: to load the certificates takes 20 ms."""
        return httpx2.create_ssl_context()

    @property
    def limits(self) -> httpx2.Limits:
        return httpx2.Limits(
            max_connections=None, max_keepalive_connections=IDLE_CONNECTIONS, keepalive_expiry=IDLE_SECONDS
        )

    @property
    def patience(self) -> httpx2.Timeout:
        """`timeout` limits each silence of the server, not the answer as a whole."""
        return httpx2.Timeout(self.timeout, connect=min(CONNECT_SECONDS, self.timeout))

    def http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(verify=self.tls, limits=self.limits, timeout=self.patience)


def connect(endpoint: Endpoint) -> Model[Any]:
    """A model with a client of its own. Raises Permanent where its key or its package is missing."""
    make = compatible if endpoint.base_url else MAKERS[endpoint.provider]
    try:
        return make(endpoint)
    except ImportError as error:
        cure = f"install heyfleet[{endpoint.provider}]"
        raise Permanent(f"{endpoint.name} needs a package that is not installed: {cure}.", detail=str(error)) from error
    # The library has no type of its own for a missing key, and nothing else is checked here.
    except UserError as error:
        cure = f"set {KEYS[endpoint.provider]}"
        raise Permanent(f"{endpoint.name} has no credentials: {cure}.", detail=str(error)[:2000]) from error


def compatible(endpoint: Endpoint) -> Model[Any]:
    """Any server that speaks chat completions. It never gets OPENAI_API_KEY: that is for OpenAI alone."""
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415
    from pydantic_ai.profiles.openai import OpenAIModelProfile  # noqa: PLC0415
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415

    from app.llm.lean import openai_client  # noqa: PLC0415

    client = openai_client(endpoint.http(), endpoint.base_url, endpoint.api_key or "none")
    profile = OpenAIModelProfile(
        json_schema_transformer=None,
        # Old and small servers know only max_tokens; OpenAI's own reasoning models only the other.
        openai_chat_supports_max_completion_tokens="openai.com" in client.base_url.host,
        # Else a stream that a gateway ends in good order, but too early, passes for a whole answer.
        openai_chat_streaming_requires_finish_reason=True,
    )
    provider = OpenAICompatibleProvider("openai-compatible", openai_client=client, profile=profile)
    return OpenAIChatModel(endpoint.model, provider=provider)


def openai(endpoint: Endpoint) -> Model[Any]:
    from pydantic_ai.models.openai import OpenAIResponsesModel  # noqa: PLC0415
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415

    from app.llm.lean import OpenAIError, openai_client  # noqa: PLC0415

    try:
        client = openai_client(endpoint.http(), None, endpoint.api_key)
    except OpenAIError as error:
        raise UserError(str(error)) from error
    return OpenAIResponsesModel(endpoint.model, provider=OpenAIProvider(openai_client=client), profile=AS_THEY_ARE)


def openrouter(endpoint: Endpoint) -> Model[Any]:
    from pydantic_ai.models.openrouter import OpenRouterModel  # noqa: PLC0415
    from pydantic_ai.providers.openrouter import OpenRouterProvider  # noqa: PLC0415

    from app.llm.lean import openai_client  # noqa: PLC0415

    http = endpoint.http()
    # Made twice: the provider finds the key, and takes a client of another class only ready made.
    found = OpenRouterProvider(api_key=endpoint.api_key, http_client=http).client
    client = openai_client(http, str(found.base_url), found.api_key)
    return OpenRouterModel(endpoint.model, provider=OpenRouterProvider(openai_client=client))


def anthropic(endpoint: Endpoint) -> Model[Any]:
    from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415

    provider = AnthropicProvider(api_key=endpoint.api_key, http_client=endpoint.http())
    provider.client.max_retries = 0
    return AnthropicModel(endpoint.model, provider=provider)


def google(endpoint: Endpoint) -> Model[Any]:
    from pydantic_ai.models import create_async_httpx2_client  # noqa: PLC0415
    from pydantic_ai.models.google import GoogleModel  # noqa: PLC0415
    from pydantic_ai.providers.google import GoogleProvider  # noqa: PLC0415

    # Google's SDK sends one number for all phases; this client keeps its own limit on connecting.
    http = create_async_httpx2_client(timeout=endpoint.patience, limits=endpoint.limits)
    return GoogleModel(endpoint.model, provider=GoogleProvider(api_key=endpoint.api_key, http_client=http))


def xai(endpoint: Endpoint) -> Model[Any]:
    from pydantic_ai.models.xai import XaiModel  # noqa: PLC0415
    from pydantic_ai.providers.xai import XaiProvider  # noqa: PLC0415

    return XaiModel(endpoint.model, provider=XaiProvider(api_key=endpoint.api_key, timeout=endpoint.timeout))


def bedrock(endpoint: Endpoint) -> Model[Any]:
    from pydantic_ai.models.bedrock import BedrockConverseModel  # noqa: PLC0415
    from pydantic_ai.providers.bedrock import BedrockProvider  # noqa: PLC0415

    if endpoint.api_key:
        provider = BedrockProvider(
            api_key=endpoint.api_key, aws_read_timeout=endpoint.timeout, aws_connect_timeout=CONNECT_SECONDS
        )
    else:
        provider = BedrockProvider(aws_read_timeout=endpoint.timeout, aws_connect_timeout=CONNECT_SECONDS)
    return BedrockConverseModel(endpoint.model, provider=provider)


MAKERS: dict[str, Callable[[Endpoint], Model[Any]]] = {
    "openai": openai,
    "anthropic": anthropic,
    "google": google,
    "xai": xai,
    "openrouter": openrouter,
    "bedrock": bedrock,
}
