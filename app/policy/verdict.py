"""What the policy says of a command, and which of several such sayings holds."""

from __future__ import annotations

from collections.abc import Iterable

from app.results import Verdict

WEIGHT = {"allow": 0, "ask": 1, "block": 2}
ALLOW = Verdict("allow")


def ask(reason: str) -> Verdict:
    return Verdict("ask", reason)


def block(reason: str) -> Verdict:
    return Verdict("block", reason)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The strictest, the first of several that are as strict."""
    return max(verdicts, key=lambda verdict: WEIGHT[verdict.answer], default=ALLOW)
