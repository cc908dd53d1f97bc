"""What the settings' types say about a key: which keys may stand below it, whether it is a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import isclass
from types import NoneType, UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from app.config.problems import Key
from app.config.settings import Settings


def type_at(key: Key, data: Any) -> Any:
    """The annotation of the value at `key`, or None where nothing is known there. `data` decides between kinds."""
    found: Any = Settings
    for part in key:
        found = child(found, part, data)
        data = value_at((part,), data)
    return found


def value_at(key: Key, data: Any) -> Any:
    """The raw value at `key`, or None."""
    for part in key:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and 0 <= part < len(data):
            data = data[part]
        else:
            return None
    return data


def child(annotation: Any, part: str | int, value: Any) -> Any:
    """The annotation of what stands at `part` in a value of this type."""
    for arm in arms(annotation, value):
        if is_section(arm) and part in arm.model_fields:
            return arm.model_fields[str(part)].annotation
        if get_origin(arm) is dict and isinstance(part, str):
            return get_args(arm)[1]
        if get_origin(arm) is list and isinstance(part, int):
            return get_args(arm)[0]
    return None


def arms(annotation: Any, value: Any = None) -> list[Any]:
    """What a value of this type may be: the members of a union, or only the section of the `kind` that `value` has."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return arms(get_args(annotation)[0], value)
    if origin not in (Union, UnionType):
        return [annotation]
    found = [arm for member in get_args(annotation) if member is not NoneType for arm in arms(member, value)]
    kind = value.get("kind") if isinstance(value, Mapping) else None
    of_kind = [arm for arm in found if is_section(arm) and kind in kinds(arm)]
    # One whose kind is any text, where it is none of the others'.
    free = [arm for arm in found if is_section(arm) and "kind" in arm.model_fields and not kinds(arm)]
    return of_kind or (free if isinstance(kind, str) else []) or found


def kinds(section: type[BaseModel]) -> Sequence[Any]:
    field = section.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isclass(annotation) and issubclass(annotation, BaseModel)


def is_structured(annotation: Any) -> bool:
    """Whether the value may be a list or a mapping."""
    return any(is_section(arm) or get_origin(arm) in (list, dict) for arm in arms(annotation))


def is_text(annotation: Any) -> bool:
    """Whether the value may be a text."""
    return any(arm in (str, SecretStr) for arm in arms(annotation))


def is_secret(annotation: Any) -> bool:
    """Whether the value, or one in the list that it is, must never be shown."""
    return any(arm is SecretStr or SecretStr in get_args(arm) for arm in arms(annotation))


def names_below(annotation: Any, value: Any = None) -> list[str]:
    """The keys that may stand in a section; none for what has free keys or no keys."""
    return sorted({name for arm in arms(annotation, value) if is_section(arm) for name in arm.model_fields})


def every_key(annotation: Any = Settings, data: Any = None, above: Key = ()) -> Iterator[Key]:
    """All keys that can be set; below free names only those that `data` has."""
    for arm in arms(annotation, data):
        free = list(data) if get_origin(arm) is dict and isinstance(data, Mapping) else []
        for name in names_below(arm) or free:
            key = (*above, name)
            yield key
            yield from every_key(child(arm, name, data), value_at((name,), data), key)
