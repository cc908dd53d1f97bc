"""What the types can't say: names of agents, models, providers and tools must mean something, a flag is no number.

Looks at the raw data and not at the settings, so that these errors are told together with all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.config.job_rules import defined, job_rules
from app.config.problems import Key, Origins, Problem, did_you_mean
from app.config.settings import Settings
from app.config.shape import arms, child

PROVIDERS = ("openai", "anthropic", "google", "xai", "openrouter", "bedrock", "demo")
BUILTIN_TOOLS = ("bash", "read", "write", "edit", "grep", "find", "ls", "attach", "history")


def checks(data: Mapping[str, Any], origins: Origins) -> list[Problem]:
    """Everything that is wrong. What has the wrong type is passed over: the types are checked elsewhere."""
    found = [*unknown_agents(data), *unknown_models(data), *unknown_tools(data), *flags_as_numbers(data)]
    found += job_rules(data, origins)
    return [Problem(origins[key], key, text) for key, text in found]


def unknown_agents(data: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    agents = data.get("agents", {"default": {}})
    adapters = data.get("adapters")
    if not isinstance(agents, Mapping) or not agents:
        return
    if adapters is None and "default" not in agents:
        yield ("agents",), "has no agent named default, which the built-in local adapter uses; add it, or set adapters"
    for number, adapter in enumerate(adapters if isinstance(adapters, list) else []):
        named = adapter.get("agent", "default") if isinstance(adapter, Mapping) else None
        if isinstance(named, str) and named not in agents:
            key: Key = ("adapters", number, "agent")
            yield key, f"there is no agent of this name; {did_you_mean(named, map(str, agents))}"


def unknown_models(data: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    aliases = entries(data, "models")
    for name, agent in entries(data, "agents").items():
        model = agent.get("model") if isinstance(agent, Mapping) else None
        if isinstance(model, str) and model not in aliases:
            key: Key = ("agents", name, "model")
            yield from unless_fine(key, wrong_model(model, aliases))
    for number, job in enumerate(defined(data)):
        model = job.get("model") if isinstance(job, Mapping) else None
        if isinstance(model, str) and model not in aliases:
            key = ("jobs", "define", number, "model")
            yield from unless_fine(key, wrong_model(model, aliases))
    for name, alias in aliases.items():
        model = alias.get("model") if isinstance(alias, Mapping) else None
        if isinstance(model, str):
            key = ("models", name, "model")
            yield from unless_fine(key, wrong_model(model, {}))


def entries(data: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    found = data.get(section)
    return found if isinstance(found, Mapping) else {}


def wrong_model(model: str, aliases: Mapping[str, Any]) -> str | None:
    """What is wrong with a model's name, or None."""
    provider, slash, name = model.partition("/")
    if not slash:
        alias = f", or the name of an entry of models; {did_you_mean(model, aliases)}" if aliases else ""
        return f"must be provider/name, such as openai/gpt-5.4-mini{alias}"
    if provider not in PROVIDERS:
        return f"there is no such provider; {did_you_mean(provider, PROVIDERS)}"
    return None if name.strip() else "has no name after the provider; write it as openai/gpt-5.4-mini"


def unless_fine(key: Key, text: str | None) -> Iterator[tuple[Key, str]]:
    if text is not None:
        yield key, text


def unknown_tools(data: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    for name in entries(data, "builtin_tools"):
        if name not in BUILTIN_TOOLS:
            yield ("builtin_tools", name), f"there is no such built-in tool; {did_you_mean(name, BUILTIN_TOOLS)}"


def flags_as_numbers(data: Any, annotation: Any = Settings, above: Key = ()) -> Iterator[tuple[Key, str]]:
    """pydantic takes True for 1, as Python does."""
    parts = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    for part, value in parts:
        wanted = child(annotation, part, data)
        if isinstance(value, bool) and any(arm in (int, float) for arm in arms(wanted)):
            yield (*above, part), "must be a number, not true or false (as which YAML also reads yes, no, on and off)"
        yield from flags_as_numbers(value, wanted, (*above, part))
