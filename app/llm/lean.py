"""OpenAI's client without its walk over the whole request.

The SDK compares every value of a request with its declared type, to rename fields and encode files. Chat messages and
tools have nothing to rename: the walk changes nothing, and takes 18 ms of CPU for a transcript of 100 messages (see
`async_maybe_transform` in https://github.com/openai/openai-python/blob/main/src/openai/_utils/_transform.py). What is
given as `extra_body` is sent as it is, so the two long fields go that way.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import httpx2
from openai import AsyncOpenAI, Omit, OpenAIError
from openai.resources.chat import AsyncChat, AsyncCompletions
from openai.resources.responses import AsyncResponses

__all__ = ["LeanOpenAI", "OpenAIError", "openai_client"]


def openai_client(http: httpx2.AsyncClient, base_url: str | None, api_key: str | None) -> LeanOpenAI:
    """A client that does not retry. Raises OpenAIError where no key is given and OPENAI_API_KEY is not set."""
    client = LeanOpenAI(base_url=base_url, api_key=api_key, http_client=http, max_retries=0)
    if base_url is not None:
        # Read from OpenAI's variables too, and no business of another server's.
        client.organization = client.project = client.admin_api_key = None
    return client


class LeanOpenAI(AsyncOpenAI):
    """An AsyncOpenAI whose chat completions and responses send messages and tools as they are."""

    @cached_property
    def chat(self) -> AsyncChat:
        return LeanChat(self)

    @cached_property
    def responses(self) -> AsyncResponses:
        return LeanResponses(self)


class LeanChat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:
        return LeanCompletions(self._client)


class LeanCompletions(AsyncCompletions):
    async def create(self, **params: Any) -> Any:
        return await super().create(**as_extra_body(params, "messages", "tools", "tool_choice"), messages=())


class LeanResponses(AsyncResponses):
    async def create(self, **params: Any) -> Any:
        return await super().create(**as_extra_body(params, "input", "tools", "tool_choice"))


def as_extra_body(params: dict[str, Any], *names: str) -> dict[str, Any]:
    long = {name: params[name] for name in names if name in params and not isinstance(params[name], Omit)}
    kept = {name: value for name, value in params.items() if name not in names}
    return {**kept, "extra_body": {**long, **(params.get("extra_body") or {})}}
