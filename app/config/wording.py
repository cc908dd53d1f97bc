"""pydantic's errors in our words: which key it is, what is wrong with it and what to do, without the value itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.config.adapters import kinds
from app.config.problems import Key, Origin, Origins, Problem, did_you_mean
from app.config.shape import is_secret, names_below, type_at, value_at

EXPECTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "keys and values",
    "model": "keys and values",
    "path": "a path",
}
BOUNDS = {
    "greater_than": ("gt", "must be more than {:g}"),
    "greater_than_equal": ("ge", "must be at least {:g}"),
    "less_than": ("lt", "must be less than {:g}"),
    "less_than_equal": ("le", "must be at most {:g}"),
}


def problems_of(error: ValidationError, data: Any, origins: Origins) -> list[Problem]:
    """What pydantic found in `data`, each place once."""
    by_key: dict[Key, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False, include_input=False):
        by_key.setdefault(key_of(details, data), []).append(details)
    return [
        problem(key, errors, data, origins)
        for key, errors in by_key.items()
        # A list that is wrong inside is also "no text" to a key that may be either; the inner error is the real one.
        if not (len(errors) == 1 and is_type_error(errors[0]) and any(is_below(other, key) for other in by_key))
    ]


def key_of(details: ErrorDetails, data: Any) -> Key:
    """The key that an error is about: its location without the names of union members and kinds."""
    key: Key = ()
    kind_seen = False
    for number, part in enumerate(details["loc"], start=1):
        here = value_at(key, data)
        is_last = number == len(details["loc"])
        if isinstance(here, Mapping):
            if part == here.get("kind") and not kind_seen and isinstance(key[-1] if key else None, int):
                kind_seen = True
            elif part in here or (is_last and details["type"] == "missing"):
                key, kind_seen = (*key, part), False
        elif isinstance(here, list) and isinstance(part, int):
            key = (*key, part)
    return (*key, "kind") if details["type"].startswith("union_tag") else key


def is_below(other: Key, key: Key) -> bool:
    return len(other) > len(key) and other[: len(key)] == key


def is_type_error(details: ErrorDetails) -> bool:
    return details["type"].endswith("_type")


def problem(key: Key, errors: Sequence[ErrorDetails], data: Any, origins: Origins) -> Problem:
    if errors[0]["type"] == "union_tag_not_found" and not isinstance(value_at(key[:-1], data), Mapping):
        empty = ", and it is empty" if value_at(key[:-1], data) is None else ""
        return Problem(origins[key[:-1]], key[:-1], f"must be keys and values{empty}")
    if errors[0]["type"] in ("missing", "union_tag_not_found"):
        return Problem(origins.nearest(key), key, "is missing; set it")
    origin = origins[key]
    if len(errors) > 1 and all(is_type_error(details) for details in errors):
        wanted = " or ".join(dict.fromkeys(expected(details) for details in errors))
        return Problem(origin, key, f"must be {wanted}{hint(errors[0], value_at(key, data))}")
    texts = dict.fromkeys(text_of(details, key, data, origin) for details in errors)
    return Problem(origin, key, "; ".join(texts))


def text_of(details: ErrorDetails, key: Key, data: Any, origin: Origin) -> str:
    """What is wrong and the cure."""
    kind, context, value = details["type"], details.get("ctx", {}), value_at(key, data)
    may_be_shown = not origin.outside and not is_secret(type_at(key, data))
    special: dict[str, Callable[[], str]] = {
        "extra_forbidden": lambda: unknown_key(key, data),
        "literal_error": lambda: choices(context["expected"], value),
        "union_tag_invalid": lambda: choices(", ".join(kinds()), value),
        "string_pattern_mismatch": lambda: must_match(context["pattern"]),
        "string_too_short": lambda: "must not be empty",
        "string_too_long": lambda: f"must have at most {context['max_length']} characters",
        "too_short": lambda: "must not be empty",
        "value_error": lambda: shown(str(context["error"]), value, may_be_shown=may_be_shown),
    }
    if kind in special:
        return special[kind]()
    if kind in BOUNDS:
        name, text = BOUNDS[kind]
        return text.format(context[name])
    if kind.partition("_")[0] in EXPECTED:
        return f"must be {expected(details)}{hint(details, value)}"
    return details["msg"]


def must_match(pattern: str) -> str:
    return "must not be empty" if pattern == r"\S" else f"must match {pattern}"


def expected(details: ErrorDetails) -> str:
    return EXPECTED.get(details["type"].partition("_")[0], details["msg"])


def hint(details: ErrorDetails, value: Any) -> str:
    """Why the value is not what it looks like, and the cure."""
    kind = details["type"].partition("_")[0]
    if kind == "string" and isinstance(value, bool):
        return ", not true or false (as which YAML also reads yes, no, on and off); put it in quotes"
    if kind == "string" and isinstance(value, int | float):
        return ", and YAML reads this as a number; put it in quotes"
    if kind == "list" and isinstance(value, str):
        return "; put [ ] around it"
    if kind in ("dict", "model") and value is None:
        return ", and it is empty"
    return ""


def unknown_key(key: Key, data: Any) -> str:
    above = key[:-1]
    known = names_below(type_at(above, data), value_at(above, data))
    return f"there is no such key; {did_you_mean(str(key[-1]), known)}"


def choices(wanted: str, value: Any) -> str:
    words = wanted.replace("'", "").replace(" or ", ", ").split(", ")
    if isinstance(value, bool):
        return f"must be one of {', '.join(words)}; YAML reads yes, no, on and off as true or false"
    if not isinstance(value, str):
        return f"must be one of {', '.join(words)}"
    cure = did_you_mean(value, words)
    return f"must be one of {', '.join(words)}" + (f"; {cure}" if cure.startswith("did") else "")


def shown(text: str, value: Any, *, may_be_shown: bool) -> str:
    """A validator's own words; the value that they quote is left out where it may be a secret."""
    return text if may_be_shown or not isinstance(value, str) else text.replace(repr(value), "this")
