"""What is in the fake's one workspace: people, channels, messages and files."""

from __future__ import annotations

import mimetypes
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from tests.fakes.provider import FakeProvider, Window
from tests.fakes.slack.refusals import Refused

Kind = Literal["channel", "im", "mpim"]
FIRST_SECOND = 1_700_000_000
"""When everything in it was made, but for what is said."""
# Everything that a method here asks for. Tests take some away to see `missing_scope`.
SCOPES = (
    "app_mentions:read channels:history channels:read chat:write commands files:read files:write groups:history "
    "groups:read im:history im:read im:write "
    "mpim:history mpim:read reactions:read reactions:write usergroups:read users:read"
)


@dataclass
class Person:
    id: str
    name: str
    bot_id: str = ""
    """Only bots have one."""
    deleted: bool = False


@dataclass
class Group:
    id: str
    handle: str
    users: list[str]


@dataclass
class File:
    id: str
    name: str
    user: str
    content: bytes = b""
    title: str = ""
    length: int = 0
    """What was announced; the upload has to be as long."""
    state: Literal["awaited", "uploaded", "complete"] = "awaited"
    shares: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """(channel, ts) of the messages it is in."""
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def mimetype(self) -> str:
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"


@dataclass
class Message:
    channel: str
    ts: str
    user: str
    text: str
    blocks: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    thread_ts: str | None = None
    metadata: dict[str, Any] | None = None
    reactions: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Who reacted, by the emoji's name."""
    files: list[File] = field(default_factory=list[File])
    edited: bool = False
    subtype: str | None = None
    bot_id: str | None = None
    client_msg_id: str | None = None
    broadcast: bool = False
    """A reply that the channel shows too."""

    @property
    def is_reply(self) -> bool:
        return self.thread_ts not in (None, self.ts)


@dataclass
class Channel:
    id: str
    name: str
    kind: Kind
    private: bool
    members: set[str]
    archived: bool = False
    messages: list[Message] = field(default_factory=list[Message])
    posted: int = 0

    def next_ts(self) -> str:
        """The time, unique and increasing in this channel only, like Slack's: two channels can have the same."""
        self.posted = max(self.posted + 100, time.time_ns() // 1000)
        return f"{self.posted // 1_000_000}.{self.posted % 1_000_000:06d}"

    def at(self, ts: str) -> Message | None:
        return next((message for message in self.messages if message.ts == ts), None)

    def thread(self, ts: str) -> list[Message]:
        """The message and its replies."""
        return [message for message in self.messages if ts in (message.ts, message.thread_ts)]

    @property
    def scope(self) -> str:
        """The part of the scopes' names that says which kind of conversation it is."""
        return {"im": "im", "mpim": "mpim"}.get(self.kind, "groups" if self.private else "channels")


class Workspace(FakeProvider):
    """The state, and how tests make it."""

    team_id = "T0FAKE0001"
    team_domain = "fake-team"
    app_id = "A0FAKE0001"
    bot_id = "B0FAKE0001"
    bot_user = "U0FAKEBOT1"
    bot_token = "xoxb-1000000000-2000000000-fakefakefakefakefakefake"
    app_token = "xapp-1-A0FAKE0001-3000000000-fakefakefakefake"
    signing_secret = "fake-signing-secret-0123456789ab"
    verification_token = "XXYYZZ"

    def __init__(self) -> None:
        super().__init__()
        self.scopes = set(SCOPES.split())
        self.auth_error = ""
        """What every token is refused with, such as "token_revoked"; empty: good ones are good."""
        self.lenient = False
        self.takes_blocks = True
        """False: it finds something wrong with all of them."""
        """No rate limit on chat.postMessage."""
        # "Generally one message per second per channel", "short bursts >1 allowed":
        # https://docs.slack.dev/apis/web-api/rate-limits
        self.posting = Window(3, 2.0)
        self.violations: list[str] = []
        """Every post that was over the rate limit."""
        self.people: dict[str, Person] = {}
        self.channels: dict[str, Channel] = {}
        self.groups: dict[str, Group] = {}
        self.all_files: dict[str, File] = {}
        """Those that are not uploaded yet, too."""
        self._numbers = count(1)
        self.people[self.bot_user] = Person(self.bot_user, "heyfleet", self.bot_id)

    def new_id(self, letter: str) -> str:
        return f"{letter}0FAKE{next(self._numbers):04d}"

    # --- what tests put into it

    def person(self, name: str, bot: bool = False, enterprise: bool = False) -> Person:
        """With an id that starts with U; with W for one of an enterprise grid."""
        with self.lock:
            person = Person(self.new_id("W" if enterprise else "U"), name, self.new_id("B") if bot else "")
            self.people[person.id] = person
            return person

    def channel(
        self,
        name: str,
        private: bool = False,
        kind: Kind = "channel",
        members: Iterable[str | Person] = (),
        bot_in_it: bool = True,
    ) -> Channel:
        """With the bot in it, unless told otherwise."""
        with self.lock:
            letter = "D" if kind == "im" else "G" if private or kind == "mpim" else "C"
            inside = {id_of(member) for member in members} | ({self.bot_user} if bot_in_it else set())
            found = Channel(self.new_id(letter), name, kind, private or kind != "channel", inside)
            self.channels[found.id] = found
            return found

    def group(self, handle: str, users: Iterable[str | Person]) -> Group:
        with self.lock:
            group = Group(self.new_id("S"), handle, [id_of(user) for user in users])
            self.groups[group.id] = group
            return group

    def file(self, name: str, content: bytes, user: str | Person = "", title: str = "") -> File:
        """A file that someone has uploaded; `say(..., files=[it])` shares it."""
        with self.lock:
            file = File(self.new_id("F"), name, id_of(user), content, title or name, len(content), "complete")
            self.all_files[file.id] = file
            return file

    # --- what tests look at

    def messages(self, channel: str | Channel) -> list[Message]:
        """All of them, in order, people's and the bot's."""
        with self.lock:
            return list(self.channels[id_of(channel)].messages)

    @property
    def files(self) -> list[File]:
        """Those that are wholly uploaded."""
        with self.lock:
            return [file for file in self.all_files.values() if file.state == "complete"]

    # --- what methods ask

    def need(self, *scopes: str) -> None:
        missing = [scope for scope in scopes if scope not in self.scopes]
        if missing:
            raise Refused("missing_scope", needed=",".join(missing), provided=",".join(sorted(self.scopes)))

    def seen(self, id: str, refusal: str = "channel_not_found") -> Channel:  # noqa: A002 (Slack's name)
        """The channel, if the bot may know of it: private ones only from inside."""
        channel = self.channels.get(id)
        if channel is None or (channel.private and self.bot_user not in channel.members):
            raise Refused(refusal)
        return channel

    def entered(self, id: str) -> Channel:  # noqa: A002 (Slack's name)
        """The channel, if the bot is in it."""
        channel = self.seen(id)
        if self.bot_user not in channel.members:
            raise Refused("not_in_channel")
        return channel

    def add(self, channel: Channel, message: Message) -> Message:
        channel.messages.append(message)
        for file in message.files:
            file.shares.append((channel.id, message.ts))
        return message


def id_of(what: str | Person | Channel) -> str:
    return what if isinstance(what, str) else what.id


def typed_blocks(text: str, block_id: str) -> list[dict[str, Any]]:
    """What Slack makes of a text that a person typed: one block of rich text.

    https://docs.slack.dev/reference/block-kit/blocks/rich-text-block
    """
    elements: list[Mapping[str, Any]] = [
        {"type": "user", "user_id": part[2:-1]} if re.fullmatch(r"<@\w+>", part) else {"type": "text", "text": part}
        for part in re.split(r"(<@\w+>)", text)
        if part
    ]
    section: Sequence[Mapping[str, Any]] = [{"type": "rich_text_section", "elements": elements}]
    return [{"type": "rich_text", "block_id": block_id, "elements": section}] if elements else []
