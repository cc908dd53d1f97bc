"""What the policy says of a command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Answer = Literal["allow", "ask", "block"]
WEIGHT: dict[Answer, int] = {"allow": 0, "ask": 1, "block": 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`allow`: run it; `ask`: a person decides; `block`: never. `reason` is for that person and the model."""

    answer: Answer
    reason: str = ""


ALLOW = Verdict("allow")


def ask(reason: str) -> Verdict:
    return Verdict("ask", reason)


def block(reason: str) -> Verdict:
    return Verdict("block", reason)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The strictest, the first of several that are as strict."""
    return max(verdicts, key=lambda verdict: WEIGHT[verdict.answer], default=ALLOW)
