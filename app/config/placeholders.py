"""`${NAME}`, `${NAME:-default}` and `${NAME:default}`, filled in from the environment."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<colon>:-?(?P<default>[^}]*))?\})?")
MALFORMED = (
    "has a ${ that starts no placeholder; write ${NAME} or ${NAME:-default},"
    " and put a value that contains ${ itself into a variable of its own"
)
NESTED = "has a placeholder inside a placeholder's default; give the inner one a variable of its own"


@dataclass(frozen=True, slots=True)
class Filled:
    """A text after filling in."""

    value: str | None
    """None where a text that is one placeholder and nothing else came out empty: such a key counts as not set."""
    names: tuple[str, ...] = ()
    """Every variable that the text names."""
    problems: tuple[str, ...] = ()


def fill(text: str, lookup: Callable[[str], str | None]) -> Filled:
    """Fill in the placeholders of `text`; what comes in is not looked through again.

    A variable that is empty counts as not set, and then the default serves, as with the shell's `:-`. The result stays
    text even where YAML would see a number or a yes in it, because it may be a password; what needs a number or a flag
    reads it from the text. A `$` without `{` is a `$`. Text that is quoted in YAML is filled in too.
    """
    names: list[str] = []
    problems: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if name is None:
            problems.append(MALFORMED)
            return ""
        names.append(name)
        if default is not None and "${" in default:
            problems.append(NESTED)
        found = lookup(name)
        if not found and match["colon"] is None:
            problems.append(f"${{{name}}} is not set; set {name} in the environment or in .env, or write a default")
        return found or default or ""

    value = PLACEHOLDER.sub(replaced, text)
    only = PLACEHOLDER.fullmatch(text) is not None
    return Filled(None if only and not value else value, tuple(names), tuple(dict.fromkeys(problems)))
