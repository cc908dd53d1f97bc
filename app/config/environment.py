"""What the environment says: `./.env` and the process's own variables; `HEYFLEET_HTTP__PORT=9000` sets `http.port`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream

from app.config.problems import Key, Origin, Origins, Problem
from app.config.settings import Settings
from app.config.shape import arms, child, every_key, is_section, is_structured, is_text, value_at

PREFIX = "HEYFLEET_"
NOT_KEYS = frozenset({"HEYFLEET_CONFIG", "HEYFLEET_WEBHOOK_SECRET", "HEYFLEET_SECRET_KEY"})
PLAIN = {"DATABASE_URL": "database_url", "REDIS_URL": "redis_url", "SENTRY_DSN": "sentry_dsn"}
"""Variables that many platforms set; they serve where nothing else sets the key."""


@dataclass(frozen=True, slots=True)
class Environment:
    """All variables, those of `.env` included, and where each was set."""

    values: Mapping[str, str]
    origins: Mapping[str, Origin]
    problems: tuple[Problem, ...]


def read_environment(folder: Path, environ: Mapping[str, str]) -> Environment:
    """Read `folder/.env`; what `environ` has wins over it.

    Values of `.env` are taken as they stand, without filling in: they are where passwords are kept.
    """
    values: dict[str, str] = {}
    origins: dict[str, Origin] = {}
    problems: list[Problem] = []
    for binding in parse_stream(StringIO(dotenv_text(folder / ".env", problems))):
        line = binding.original.line + leading_lines(binding.original.string)
        if binding.error:
            problems.append(Problem(Origin(f".env:{line}", line), (), "is not NAME=value; correct or remove the line"))
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
            origins[binding.key] = Origin(f".env:{line}", line, outside=True, note=f" (${binding.key})")
    for name, value in environ.items():
        values[name] = value
        origins[name] = Origin(f"${name}", outside=True)
    return Environment(values, origins, tuple(problems))


def dotenv_text(path: Path, problems: list[Problem]) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        problems.append(Problem(Origin(".env"), (), "is not in UTF-8; save it as UTF-8"))
    except OSError as error:
        problems.append(Problem(Origin(".env"), (), f"can't be read ({error.strerror}); make it readable"))
    return ""


def leading_lines(text: str) -> int:
    """How many empty lines stand before a binding: the parser counts them to it."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def set_from_environment(
    data: dict[str, Any], origins: Origins, environment: Environment, named: frozenset[str]
) -> list[Problem]:
    """Set in `data` what the environment says; `named` are variables that the file's placeholders use for themselves.

    An empty variable counts as not set. Lists and mappings are JSON; a mapping is laid over what is there, a list
    replaces it.
    """
    problems: list[Problem] = []
    settable = {name for name, value in environment.values.items() if name.startswith(PREFIX) and value.strip()}
    # Short names first, so that HEYFLEET_HTTP__PORT wins over HEYFLEET_HTTP.
    for name in sorted(settable - NOT_KEYS - named, key=lambda name: (name.count("__"), name)):
        origin = environment.origins[name]
        found = key_of(name.removeprefix(PREFIX).split("__"), data)
        if found is None:
            problems.append(Problem(origin, (), f"sets no key that exists; {cure(name, data)}"))
            continue
        key, annotation = found
        try:
            put(data, key, typed(environment.values[name], annotation), origins, origin)
        except ValueError:
            text = 'must be JSON, such as ["a", "b"] for a list or {"name": "value"} for a mapping'
            problems.append(Problem(origin, key, text))
    for name, word in PLAIN.items():
        if data.get(word) is None and environment.values.get(name):
            put(data, (word,), environment.values[name], origins, environment.origins[name])
    return problems


def key_of(words: list[str], data: Any) -> tuple[Key, Any] | None:
    """The key that the parts of a variable's name mean, and its type; None where there is no such key."""
    key: Key = ()
    annotation: Any = Settings
    for word in words:
        here = value_at(key, data)
        part = part_of(word, annotation, here)
        if part is None:
            return None
        annotation = child(annotation, part, here)
        key = (*key, part)
    return key, annotation


def part_of(word: str, annotation: Any, here: Any) -> str | int | None:
    """One part of a key. A free name that the file spells `My-Agent` is meant by MY_AGENT."""
    if isinstance(here, list):
        return int(word) if word.isdecimal() and int(word) < len(here) else None
    names = [name for arm in arms(annotation, here) if is_section(arm) for name in arm.model_fields]
    if names:
        return word.lower() if word.lower() in names else None
    if child(annotation, word, here) is None:
        return None
    known = here if isinstance(here, Mapping) else {}
    return next((name for name in known if variable_part(name) == word.upper()), word.lower())


def variable_part(part: str | int) -> str:
    return re.sub(r"\W", "_", str(part)).upper()


def cure(name: str, data: Any) -> str:
    known = [PREFIX + "__".join(variable_part(part) for part in key) for key in every_key(Settings, data)]
    close = get_close_matches(name.upper(), [*known, *NOT_KEYS], n=1, cutoff=0.7)
    if close:
        return f"did you mean {close[0]}?"
    return "a section and its key are joined by two underscores, as in HEYFLEET_HTTP__PORT"


def typed(value: str, annotation: Any) -> Any:
    """A variable's value as data. Raises ValueError for what should be JSON and is not."""
    if not is_structured(annotation):
        return value
    if not is_text(annotation):
        return json.loads(value)
    # One secret or a list of them: what is no JSON list is a secret that happens to begin with a bracket.
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, list) else value


def put(data: Any, key: Key, value: Any, origins: Origins, origin: Origin) -> None:
    """Set the value at `key`, making what should hold it; what is of another kind on the way is left to be refused."""
    place = data
    for depth, part in enumerate(key[:-1], start=1):
        if isinstance(place, dict) and place.get(part) is None:
            place[part] = {}
            origins[key[:depth]] = origin
        place = value_at((part,), place)
    last = key[-1]
    if isinstance(value, dict) and isinstance(value_at(key, data), dict):
        for name, inner in value.items():
            put(data, (*key, name), inner, origins, origin)
    elif isinstance(place, dict | list):
        place[last] = value  # type: ignore[index]
        origins[key] = origin
