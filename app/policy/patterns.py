"""The operator's own patterns for commands, which come before the built-in lists: block over allow over approve.

A pattern is a glob over one simple command as bash would run it, quotes removed and its words joined by one space:
`git push origin docs/*`, `kubectl get *`. A last ` *` also stands for no more words.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from app.policy.tables import GIT_VALUED
from app.policy.verdict import ALLOW, ask, block
from app.policy.words import Word
from app.results import Verdict

LONGEST = 10_000
"""Characters of a command that are compared with a pattern."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """The lists of heyfleet.yaml's `policy`."""

    allow: tuple[str, ...] = ()
    approve: tuple[str, ...] = ()
    block: tuple[str, ...] = ()

    def judge(self, program: str, words: Sequence[Word]) -> Verdict | None:
        """What they say of a command, or None. `program` is the first word's last part, without its folder.

        A star stands for what is only known when it runs, too; such a command is asked about where it could be one that
        `block` means.
        """
        rest = [word.text for word in words[1:]]
        texts = [" ".join([name, *rest]) for name in dict.fromkeys((program, posixpath.normpath(words[0].text)))]
        if program == "git":
            texts.append(" ".join([program, *after_git_options(rest)]))
        if any(len(text) > LONGEST for text in texts):
            return ask("it is too long to be compared with the policy's patterns") if self else None
        if found := first(self.block, texts):
            return block(f"{program}: the policy blocks {found}")
        if not all(word.known for word in words) and (found := may_be(self.block, program)):
            return ask(f"{program}: it may be what the policy blocks ({found}), which is only known when it runs")
        if first(self.allow, texts):
            return ALLOW
        if found := first(self.approve, texts):
            return ask(f"{program}: the policy asks about {found}")
        return None

    def __bool__(self) -> bool:
        return bool(self.allow or self.approve or self.block)


def after_git_options(rest: list[str]) -> list[str]:
    """`-C DIR`, `--no-pager` and the like stand before the command that a pattern names."""
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in GIT_VALUED else rest[1:]
    return rest


def first(patterns: Iterable[str], texts: Sequence[str]) -> str | None:
    """The first pattern that one of the texts matches."""
    return next((pattern for pattern in patterns if any(matches(pattern, text) for text in texts)), None)


def matches(pattern: str, text: str) -> bool:
    pattern = " ".join(pattern.split())
    return fnmatchcase(text, pattern) or (pattern.endswith(" *") and fnmatchcase(text, pattern[:-2]))


def may_be(patterns: Iterable[str], program: str) -> str | None:
    """The first pattern about this program."""
    return next((pattern for pattern in patterns if about(pattern, program)), None)


def about(pattern: str, program: str) -> bool:
    name = re.split(r"\s", pattern.strip(), maxsplit=1)[0]
    return fnmatchcase(program, name.rsplit("/", 1)[-1])


NO_PATTERNS = Patterns()


class PolicySettings(Protocol):
    """`policy` of heyfleet.yaml; `app.config.settings.Policy` is what stands behind it."""

    @property
    def allow(self) -> Sequence[str]: ...
    @property
    def approve(self) -> Sequence[str]: ...
    @property
    def block(self) -> Sequence[str]: ...


def patterns_of(settings: PolicySettings) -> Patterns:
    return Patterns(tuple(settings.allow), tuple(settings.approve), tuple(settings.block))
