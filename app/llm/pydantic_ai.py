"""Models of all providers behind `app.ports.Model`, by way of pydantic-ai's direct requests."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model as LibraryModel
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from app.llm.drafts import Draft
from app.llm.failures import failure_of
from app.llm.lanes import Lanes
from app.llm.loop import Say, run
from app.llm.messages import Toolbox, answer_of, request_of, summary_of, transcript_of
from app.llm.providers import Endpoint, connect
from app.ports import Cancel, Prompt
from app.results import Answer

Clients = Lanes[LibraryModel[Any]]

DRAFT_SECONDS = 0.05
"""Between two drafts of one answer: more often than the eye can follow helps nobody, and costs by the token."""


class PydanticAIModel:
    """One model; see `app.ports.Model`. `settings` are sent with each request (max_tokens, temperature)."""

    def __init__(self, endpoint: Endpoint, context_window: int, settings: ModelSettings, *, sees: bool = True) -> None:
        self.name = endpoint.name
        self.context_window = context_window
        self.sees = sees
        self._endpoint = endpoint
        self._settings = settings
        self._toolbox = Toolbox()
        self._lock = threading.Lock()
        self._lanes: dict[int, Clients] = {}

    def ask(self, prompt: Prompt, *, cancel: Cancel, on_text: Callable[[str], None] | None = None) -> Answer:
        """See `app.ports.Model.ask`. `on_text` is called in this thread."""
        lanes = self.prepare()
        request = request_of(prompt.new)
        messages = [*transcript_of(prompt), request]
        parameters = self._toolbox.parameters(prompt)
        if on_text is None:
            response = run(lambda _: self._whole(lanes, messages, parameters), cancel)
        else:
            draft = Draft(on_text, self.name)
            response = run(lambda say: self._streamed(lanes, messages, parameters, say), cancel, draft.show)
        return answer_of(request, response, self.name)

    def summary(self, text: str) -> Mapping[str, Any]:
        """See `app.ports.Model.summary`."""
        return summary_of(text)

    def prepare(self) -> Clients:
        """The clients of this process (connections must not be shared with a fork).

        The first call loads the provider's library, which takes a second or two. Raises Permanent where the key or
        the library is missing.
        """
        pid = os.getpid()
        if pid not in self._lanes:
            with self._lock:
                if pid not in self._lanes:
                    self._lanes = {pid: Lanes(connect(self._endpoint), lambda: connect(self._endpoint))}
        return self._lanes[pid]

    async def _whole(
        self, lanes: Clients, messages: list[ModelMessage], parameters: ModelRequestParameters
    ) -> ModelResponse:
        with lanes.client() as model:
            try:
                return await model_request(
                    model, messages, model_settings=self._settings, model_request_parameters=parameters
                )
            except Exception as error:
                raise failure_of(error, self.name, keys_of(model)) from error

    async def _streamed(
        self, lanes: Clients, messages: list[ModelMessage], parameters: ModelRequestParameters, say: Say
    ) -> ModelResponse:
        with lanes.client() as model:
            try:
                async with model_request_stream(
                    model, messages, model_settings=self._settings, model_request_parameters=parameters
                ) as stream:
                    next_draft = 0.0
                    async for _ in stream:
                        if time.monotonic() >= next_draft:
                            next_draft = time.monotonic() + DRAFT_SECONDS
                            say(stream.get().text or "")
                    response = stream.get()
            except Exception as error:
                raise failure_of(error, self.name, keys_of(model)) from error
            say(response.text or "")
            return response


def keys_of(model: LibraryModel[Any]) -> list[str]:
    """The key that the SDK found, to be kept out of what is told of an error."""
    key = getattr(getattr(model, "client", None), "api_key", None)
    return [key] if isinstance(key, str) else []
