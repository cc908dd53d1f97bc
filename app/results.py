"""Frozen outcomes. Whoever gets one decides with a single `match` that ends in `assert_never`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of a call. `allow`: run it; `ask`: a person decides; `block`: never."""

    answer: Literal["allow", "ask", "block"]
    reason: str = ""
    """For that person and the model."""
    details: str = ""
    """What else the person should know."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model request cost; None where the provider does not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    """US dollars."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One tool call that the model asked for."""

    tool_call_id: str
    tool: str
    args: Mapping[str, Any]
    problem: str = ""
    """Why the arguments can't be used, where they can't."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One model step: the messages to store (in the model library's own serialised form) and what they say."""

    request: Mapping[str, Any]
    response: Mapping[str, Any]
    text: str
    calls: Sequence[CallRequest]
    usage: Usage = field(default_factory=Usage)
    model: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a conversation is, that the agent may begin by itself."""

    key: str
    """The thread's."""
    channel: str
    team: str = ""
    reply: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """As of an `Inbound`."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The other side has it."""

    reference: str = ""
    """What the other side calls it."""
    more: bool = False
    """This was a part of the delivery, and there is another one to be sent behind it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The other side does not have it and it is safe to send again, after `after` seconds where a time was named."""

    reason: str
    after: float | None = None
    pauses: str | None = None
    """The key of the limit through which nothing may go until then, for the whole fleet; see `app.traffic.Limit`."""
    doubtful: bool = False
    """Of looking whether it has arrived: that could not be told now, and is to be asked again."""


@dataclass(frozen=True, slots=True)
class Held:
    """Nothing was sent: a limit that the fleet shares has no place for `after` seconds."""

    reason: str
    after: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The other side refused it for good."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """It may or may not have arrived."""

    reason: str
    final: bool = False
    """Nobody can find out."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Of looking whether something has arrived: it has not, or whoever gets it twice can tell."""


SendResult = Sent | Retry | Held | Failed | Ambiguous
Settled = Sent | Absent | Retry | Ambiguous


MOST_CHARACTERS = 50_000
"""Of one call's result: more would crowd everything else out of the model's context."""


def shortened(text: str) -> str:
    """Both ends of a long result."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
