"""One thing that is wrong with the configuration: where it stands, which key it is, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

Key = tuple[str | int, ...]
"""The way to a value: `("adapters", 0, "secret")`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was set."""

    place: str
    """`heyfleet.yaml:12`, `.env:3` or `$HEYFLEET_HTTP__PORT`."""
    line: int = 0
    outside: bool = False
    """It comes from the environment, so that it may be a secret whatever the key: never shown."""
    note: str = ""
    """Put behind a message, such as which variables the value was filled in from."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error. As text it is one line: `heyfleet.yaml:12: http.port: what is wrong; the cure`."""

    origin: Origin
    key: Key
    text: str

    def __str__(self) -> str:
        where = f"{self.origin.place}: {dotted(self.key)}: " if self.key else f"{self.origin.place}: "
        return " ".join(f"{where}{self.text}{self.origin.note}".split())


class Origins:
    """Where each value was set; a value that was set nowhere stands where what holds it was set."""

    def __init__(self, root: str) -> None:
        self._by_key: dict[Key, Origin] = {(): Origin(root)}
        self._above: set[Key] = set()
        """Keys that others are below of, so that most are set without a look at all of them."""

    def __setitem__(self, key: Key, origin: Origin) -> None:
        """The value at `key` was set here, and so was everything below it that has no place of its own from now on."""
        if key in self._above:
            for other in [other for other in self._by_key if other[: len(key)] == key]:
                del self._by_key[other]
        self._put(key, origin)

    def _put(self, key: Key, origin: Origin) -> None:
        self._by_key[key] = origin
        for length in range(len(key)):
            self._above.add(key[:length])

    def __getitem__(self, key: Key) -> Origin:
        while key not in self._by_key:
            key = key[:-1]
        return self._by_key[key]

    def adopt(self, prefix: Key, other: Origins) -> None:
        """Put the places of another document below a key of this one."""
        for key, origin in other._by_key.items():
            self._put((*prefix, *key), origin)

    def move(self, source: Key, to: Key) -> None:
        """Put the places of a value and all below it below another key; the value's own place stays as well."""
        moving = {key: origin for key, origin in self._by_key.items() if key[: len(source)] == source}
        for key in moving:
            if key != source:
                del self._by_key[key]
        for key, origin in moving.items():
            self._put((*to, *key[len(source) :]), origin)

    def nearest(self, key: Key) -> Origin:
        """The place of what holds `key`, without notes: for a value that is missing."""
        found = self[key]
        return Origin(found.place, found.line)


def dotted(key: Key) -> str:
    """`adapters[0].secret`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The cure for a misspelt word: the nearest known one, or all of them."""
    words = sorted(known)
    close = get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known here: {', '.join(words)}" if words else "nothing may stand here"


def in_order(problems: Iterable[Problem]) -> list[str]:
    """Each problem once, as lines, by place."""
    ordered = sorted(problems, key=lambda problem: (problem.origin.place.rpartition(":")[0], problem.origin.line))
    return list(dict.fromkeys(str(problem) for problem in ordered))
