"""Everything secret that a configuration holds, so that it can be kept out of logs and reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from app.config.settings import Settings
from app.log import SECRET_KEY

ADDRESSES = ("database_url", "redis_url")
"""Their passwords are hidden where they are used; their hosts are worth seeing."""
NO_SECRET = re.compile(r"(DIR|DIRECTORY|FILE|PATH|SECURE|NAME|USER|URL|SOCK)$", re.IGNORECASE)
"""How names end of variables that have a secret's word in them, and none in their value."""
WORDS = frozenset(
    ("heyfleet", "postgres", "redis", "embedded", "required", "disabled", "enabled", "password", "secret")
)
"""Passwords that stand in ordinary text, of which a log would be full of holes: they are none."""
SHORTEST = 6
"""Characters. What is shorter (`none`, where a server wants any key) stands in ordinary text by chance."""


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Of the settings, and of the environment: the keys of models stand there."""
    sections = [getattr(settings, name) for name in Settings.model_fields if name not in ADDRESSES]
    found = [value for section in sections for value in inside(section)]
    if settings.flower.basic_auth is not None:
        found += [one.partition(":")[2] for one in settings.flower.basic_auth.get_secret_value().split(",")]
    found += [value for name, value in environ.items() if SECRET_KEY.search(name) and not NO_SECRET.search(name)]
    return (value for value in found if len(value.strip()) >= SHORTEST and value.strip().lower() not in WORDS)


def inside(value: Any) -> Iterator[str]:
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            for name in type(value).model_fields:
                yield from inside(getattr(value, name))
        case Mapping():
            for item in value.values():
                yield from inside(item)
        case list() | tuple():
            for item in value:
                yield from inside(item)
