"""From a model's name to the model: `provider/name`, or an alias of the config's `models`."""

from __future__ import annotations

import threading
from typing import Protocol

from app.config.settings import ModelAlias, Settings
from app.errors import Permanent
from app.llm.demo import DemoModel
from app.ports import Model

PROVIDERS = ("openai", "anthropic", "google", "xai", "openrouter", "bedrock")
CONTEXT_WINDOW = 128_000
"""Tokens; for models that the library's list does not know."""


class Preparable(Model, Protocol):
    """A model that can be got ready before its first request."""

    def prepare(self) -> object:
        """Load the library and make the client. Raises Permanent where the key or the library is missing."""
        ...


class Models:
    """The models of one configuration, each made once and shared by all threads."""

    def __init__(self, settings: Settings) -> None:
        self._aliases = settings.models
        self._made: dict[str, Preparable] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Preparable:
        """The model of that name. The first that is not the demo loads pydantic-ai, which takes about a second.

        Raises Permanent for a name that means nothing; whether key and model are good shows at the first request.
        """
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(name)
            return self._made[name]

    def _make(self, name: str) -> Preparable:
        alias = self._aliases.get(name)
        provider, _, model = (alias.model if alias else name).partition("/")
        if provider == "demo":
            return DemoModel(name, alias.context_window if alias else CONTEXT_WINDOW)
        if provider not in PROVIDERS or not model:
            cure = "write provider/name, or the name of an entry of models"
            raise Permanent(f"There is no model {name!r}: {cure} (providers: {', '.join(PROVIDERS)}, demo).")
        return library_model(name, provider, model, alias)


def library_model(name: str, provider: str, model: str, alias: ModelAlias | None) -> Preparable:
    # Not at the top: a fleet that runs on the demo model, and every process without models, does without the library.
    from pydantic_ai.settings import ModelSettings  # noqa: PLC0415

    from app.llm.providers import Endpoint  # noqa: PLC0415
    from app.llm.pydantic_ai import PydanticAIModel  # noqa: PLC0415

    # The library would tell some models at length about tags for system messages in mid-conversation; we send none.
    settings = ModelSettings(framing_announcement="never")
    if alias is None:
        return PydanticAIModel(Endpoint(name, provider, model), context_window_of(provider, model), settings)
    endpoint = Endpoint(
        name=name,
        provider=provider,
        model=model,
        base_url=alias.base_url,
        api_key=alias.api_key.get_secret_value() if alias.api_key else None,
        timeout=alias.timeout,
    )
    if alias.max_tokens is not None:
        settings["max_tokens"] = alias.max_tokens
    if alias.temperature is not None:
        settings["temperature"] = alias.temperature
    return PydanticAIModel(endpoint, alias.context_window, settings, sees=alias.images)


def context_window_of(provider: str, model: str) -> int:
    """Tokens, by the price list that comes with the library."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    try:
        _, info = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return CONTEXT_WINDOW
    return info.context_window or CONTEXT_WINDOW
