"""What goes through an adapter: messages that come in, deliveries that go out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message as an adapter understood it. `event_key` is what the provider's event is deduplicated by."""

    agent: str
    adapter: str
    key: str
    """The thread's key within adapter and team."""
    channel: str
    actor: str
    text: str
    event_key: str
    team: str = ""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    attachments: Sequence[Mapping[str, Any]] = ()
    """Each `{name, media_type, data}` with `data` in base64, and `text` where it is short text; or, where it is to be
    fetched, `{name, media_type, size, source}`."""
    reply: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Where the reply goes, in the adapter's own words; empty where nothing is to be sent."""
    command: str | None = None
    """The control command that the text is."""
    create_thread: bool = True
    """False: the thread must exist already."""
    sender: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else the adapter vouches for of its actor, `{groups, bot}`."""
    progress: tuple[str, Mapping[str, Any]] | None = None
    """Address and body of a delivery that shows that the agent is at work on it."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """One delivery, ready to be carried out."""

    id: str
    address: str
    kind: str
    """`reply`, `approval:ID`, `approval_outcome:ID` …: what it is, unique within its turn."""
    body: Mapping[str, Any]
    """`{thread, run, status, text}`, and `approval` where it is about one."""
    attempt: int
    """From 1."""
    files: Sequence[Mapping[str, str]] = ()
    """What goes with it, each `{name, media_type, data}` with `data` in base64."""
    sent: Sequence[str] = ()
    """What the other side calls the parts of it that have arrived already: the next one is number `len(sent)`."""
    replaces: Sequence[str] = ()
    """What the other side calls the message that this one is to change, where there is one."""
    staged_at: datetime = EPOCH
    """No part of it was sent before."""
    tried_at: datetime = EPOCH
    """When its next part was first tried, of those tries that may have arrived: it is not there from before."""


BESIDE = " beside"
"""Behind the address of what shows that the agent is at work: in a lane of its own, so that no reply waits for it."""

EVERYWHERE = ""
"""The limit of an adapter as a whole."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` in `seconds`, as a provider documents it, and `burst` of them at once."""

    key: str
    """What is counted together, within the adapter: a channel, or EVERYWHERE."""
    count: int
    seconds: float
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Sender:
    """Who did something in a chat, as its provider vouches for them."""

    id: str
    groups: Sequence[str] = ()
    bot: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a chat, as an adapter understood it. Its ids are those of one workspace: a bot's token is for one,
    or the provider's ids are the same everywhere."""

    sender: Sender
    channel: str
    text: str
    """Without the mention of the bot that it begins with."""
    event_key: str
    key: str
    """Of the conversation that it is part of, or begins; in a flat channel ends with ` m` and the message's id."""
    reply: Mapping[str, Any]
    dm: bool = False
    parent: str = ""
    """The channel that it is below, where it is in a thread that not all of that see."""
    meant: bool = False
    """It mentions the bot, or answers it."""
    in_thread: bool = False
    """It stands in a thread of the provider's."""
    flat: bool = False
    """Its channel has no threads for conversations: the same person's messages follow one another."""
    answers: str = ""
    """What the other side calls the bot's message that it answers."""
    answered_at: str = ""
    """The address at which that was said."""
    files: Sequence[Mapping[str, Any]] = ()
    """Each `{name, media_type, size, source}`; `source` is what the adapter fetches it by."""
    quoted: str = ""
    """What somebody else said, that is passed on with it: for the agent to read, and never an order."""
    album: str = ""
    """What it shares with the other messages that were sent with it at once."""


def forwarded(who: str, text: str) -> str:
    """A message that is passed on, as the agent reads it."""
    return f"Forwarded message from {who}:\n" + "\n".join(f"> {line}" for line in text.split("\n"))


@dataclass(frozen=True, slots=True)
class Ordered:
    """A command given by a provider's own means (a slash command, a menu): only its giver is told what came of it."""

    sender: Sender
    channel: str
    text: str
    event_key: str
    key: str
    reply: Mapping[str, Any]
    """Where the outcome of a command goes that takes a while."""
    dm: bool = False
    parent: str = ""
    """The channel that it is below, where it is in a thread that not all of that see."""


@dataclass(frozen=True, slots=True)
class Pressed:
    """A button of an approval's card."""

    sender: Sender
    channel: str
    approval: str
    """Its code."""
    decision: Literal["approve", "deny"]
    bypass: bool = False
    dm: bool = False
    parent: str = ""
    """The channel that it is below, where it is in a thread that not all of that see."""


Happening = Said | Ordered | Pressed


INLINE_TEXT_BYTES = 16_000
"""Of a text file, shown to the model as it is."""
UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9._ -]")


def short_text(media_type: str, content: bytes) -> str | None:
    """What a file says, where it is text that is short enough to be read at once."""
    if not media_type.startswith("text/") or len(content) > INLINE_TEXT_BYTES:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def safe_name(name: str) -> str:
    """The last part of a file's name, with what a file system or a shell could trip over replaced; may be empty."""
    return UNSAFE_IN_NAME.sub("_", name.replace("\\", "/").rsplit("/", 1)[-1]).lstrip(".")
