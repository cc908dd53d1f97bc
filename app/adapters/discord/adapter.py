"""Deliveries to Discord. https://discord.com/developers/docs/resources/message"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx

from app.adapters.discord.answering import Answering
from app.adapters.discord.api import Api, Refusal, refusal
from app.adapters.discord.parse import Channel, Me, channel_of, interaction_of, said_of
from app.adapters.formatting import DISCORD_MOST, discord_markdown, split
from app.adapters.reading import not_sent, understood
from app.clock import now
from app.config.adapters import DiscordAdapter as Settings
from app.errors import Permanent, Transient, Unavailable
from app.ports import Drafts, InDoubt
from app.results import Absent, Ambiguous, Failed, Place, SendResult, Sent, Settled
from app.traffic import EVERYWHERE, Happening, Limit, Outbound

REACTION = "%F0%9F%91%80"
LABELS = (("Approve", "a", 3), ("Approve, and don't ask for a while", "b", 2), ("Deny", "d", 4))
"""With the styles of their buttons. https://discord.com/developers/docs/components/reference#button-button-styles"""
FILE_HOSTS = ("cdn.discordapp.com", "media.discordapp.net")
NONCE_CHARACTERS = 25
NONCE_HOLDS = timedelta(seconds=120)
"""Discord checks it for "the past few minutes".
https://discord.com/developers/docs/resources/message#create-message"""
EMBED_CHARACTERS = 4096
UNKNOWN_MESSAGE = 10008
SPECIAL = re.compile(r"([\\*_~`|>#\[\]()<:@-])")

# https://discord.com/developers/docs/topics/rate-limits: 50 requests a second in all. What a channel allows is told
# with each answer, and is five messages in five seconds.
MESSAGES = Limit(EVERYWHERE, 40, 1.0, burst=5)
REACTIONS = Limit("reactions", 3, 1.0)


class DiscordAdapter:
    """See `app.ports.Adapter`."""

    in_doubt: InDoubt = "look"
    answers_each = False

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self.settings = settings
        self.drafts: Drafts = "edited" if settings.streaming else "none"
        self.api = Api(settings)
        self.answering = Answering(self.api)
        self._me: Me | None = None
        self._channels: dict[str, Channel] = {}
        self._lock = threading.Lock()

    def me(self) -> Me:
        """Who the bot is. Raises Unavailable."""
        with self._lock:
            if self._me is None:
                user, application = self._asked("/users/@me"), self._asked("/applications/@me")
                self._me = Me(str(user["id"]), str(application["id"]))
            return self._me

    def channel(self, channel: str) -> Channel:
        """What kind of channel it is, which never changes. Raises Unavailable."""
        found = self._channels.get(channel)
        if found is None:
            try:
                found = channel_of(self._asked(f"/channels/{channel}"))
            except Permanent:
                # It is gone, or out of our sight: what was said there counts as said in a channel of its own.
                found = Channel(channel, channel, thread=False)
            self._channels[channel] = found
        return found

    def knows(self, channel: Mapping[str, Any]) -> None:
        """A channel that the gateway told of need not be asked for."""
        self._channels[str(channel["id"])] = channel_of(channel)

    def understand(self, message: Mapping[str, Any]) -> Happening | None:
        """What a MESSAGE_CREATE tells of. Raises Unavailable."""
        me = self.me()
        if (message.get("author") or {}).get("id") == me.user:
            return None
        place = self.channel(str(message.get("channel_id")))
        return understood(self.name, lambda: said_of(message, place, self.settings, me))

    def understand_interaction(self, interaction: Mapping[str, Any]) -> Happening | None:
        """What a command or a button tells of. Raises Unavailable."""
        channel = interaction.get("channel") or {"id": interaction.get("channel_id")}
        if not channel.get("id"):
            return None
        place = channel_of(channel) if "type" in channel else self.channel(str(channel["id"]))
        return understood(self.name, lambda: interaction_of(interaction, place))

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:  # noqa: ARG002 (the port's signature)
        channel: str | None = reply.get("channel")
        return channel

    def progress(self, reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"message": reply["message"]} if self.settings.progress and reply.get("message") else None

    def place(self, kind: str, name: str) -> Place | None:
        """A channel or a thread by its id, or the direct messages with a person by theirs."""
        if kind == "user":
            name = self._direct(name)
        if kind not in ("channel", "user"):
            return None
        try:
            return Place(name, self.channel(name).root, reply={"channel": name})
        except Unavailable as error:
            # Of Discord; our own Postgres is there.
            raise Transient(error.message, detail=error.detail) from error

    def _direct(self, user: str) -> str:
        """https://discord.com/developers/docs/resources/user#create-dm"""
        try:
            return str(self.api.call("POST", "/users/@me/channels", {"recipient_id": user})["id"])
        except (Refusal, httpx.HTTPError) as error:
            failed = refusal(error, EVERYWHERE)
            why = f"Discord does not open the direct messages with {user}: {failed.reason}"
            raise (Permanent(why) if isinstance(failed, Failed) else Transient(why)) from error

    def limits(self, delivery: Outbound) -> Sequence[Limit]:
        if delivery.kind.startswith("progress"):
            return [REACTIONS]
        return [MESSAGES, Limit(delivery.address, count=10, seconds=11.0)]

    def fetch(self, source: Mapping[str, Any], most: int) -> bytes:
        """https://discord.com/developers/docs/reference#signed-attachment-cdn-urls: for a day, by its address alone."""
        if not is_discord_s(str(source["url"]), self.settings.api_url):
            raise Permanent("its address is not Discord's")
        try:
            return self.api.download(str(source["url"]), most)
        except Refusal as error:
            if error.status == 429 or error.status >= 500:
                raise Transient(f"Discord does not give it now: {error}") from error
            raise Permanent(f"Discord does not give it: {error}") from error
        except httpx.HTTPError as error:
            raise Transient(f"the connection to Discord broke: {type(error).__name__}") from error

    def settle(self, delivery: Outbound) -> Settled:
        """While the nonce holds, Discord itself sees that nothing is there twice."""
        repeatable = delivery.kind.startswith("progress") or edits(delivery)
        if repeatable or now() - delivery.tried_at < NONCE_HOLDS:
            return Absent()
        return Ambiguous("it may have arrived, too long ago for Discord to tell: look into the channel")

    def send(self, delivery: Outbound) -> SendResult:
        try:
            return self._send(delivery)
        except (Refusal, httpx.HTTPError, httpx.InvalidURL) as error:
            return refusal(error, self.limits(delivery)[-1].key)

    def _send(self, delivery: Outbound) -> SendResult:
        path = f"/channels/{delivery.address}/messages"
        if delivery.kind.startswith("progress"):
            method = "PUT" if delivery.kind == "progress" else "DELETE"
            self.api.call(method, f"{path}/{delivery.body['message']}/reactions/{REACTION}/@me")
            return Sent("shown")
        pieces, number = texts_of(delivery), len(delivery.sent)
        more = number + 1 < len(pieces) + len(delivery.files)
        if number < len(pieces):
            return Sent(self._say(delivery, path, pieces[number]), more)
        return Sent(self._share(delivery, path, delivery.files[number - len(pieces)]), more)

    def _share(self, delivery: Outbound, path: str, file: Mapping[str, str]) -> str:
        """A file; or, where Discord does not take it, a line that says so, and what comes behind it is not held up."""
        content = (file["name"], base64.b64decode(file["data"]), file["media_type"])
        try:
            return reference_of(self.api.call("POST", path, unique(delivery), file=content))
        except Refusal as error:
            failed = refusal(error, EVERYWHERE)
            if not isinstance(failed, Failed):
                raise
            said = {"content": not_sent(file["name"], failed.reason), "allowed_mentions": {"parse": []}}
            return reference_of(self.api.call("POST", path, {**said, **unique(delivery)}))

    def _say(self, delivery: Outbound, path: str, text: str) -> str:
        """Send it, or change the message that it replaces. What Discord calls the message."""
        shown = {"content": discord_markdown(text), "components": [], "embeds": []}
        if "approval" in delivery.body:
            shown = card(delivery.body, text)
        whole: dict[str, Any] = {**shown, "allowed_mentions": {"parse": []}}
        if edits(delivery):
            try:
                return reference_of(self.api.call("PATCH", f"{path}/{delivery.replaces[0].split()[-1]}", whole))
            except Refusal as error:
                if error.code != UNKNOWN_MESSAGE or delivery.kind == "draft":
                    raise
        answered = delivery.body.get("answers")
        if answered and not delivery.sent:
            whole["message_reference"] = {"message_id": answered, "fail_if_not_exists": False}
        return reference_of(self.api.call("POST", path, {**whole, **unique(delivery)}))

    def _asked(self, path: str) -> Any:
        try:
            return self.api.call("GET", path, timeout=5.0)
        except (Refusal, httpx.HTTPError) as error:
            why = str(error) if isinstance(error, Refusal) else type(error).__name__
            if isinstance(error, Refusal) and error.status in (403, 404):
                raise Permanent(f"Discord does not show {path}: {why}") from error
            raise Unavailable(f"Discord does not answer {path}: {why}") from error


def is_discord_s(url: str, api_url: str) -> bool:
    """What a message says of its files is not to lead us anywhere else."""
    file, api = urlsplit(url), urlsplit(api_url)
    return (file.scheme == "https" and file.hostname in FILE_HOSTS) or (file.scheme, file.netloc) == (
        api.scheme,
        api.netloc,
    )


def unique(delivery: Outbound) -> dict[str, Any]:
    """What makes Discord take this part of this delivery once."""
    digest = hashlib.sha256(f"{delivery.id} {len(delivery.sent)}".encode()).hexdigest()
    return {"nonce": digest[:NONCE_CHARACTERS], "enforce_nonce": True}


def edits(delivery: Outbound) -> bool:
    """Whether its next part changes a message that is there."""
    return bool(delivery.replaces) and not delivery.sent


def reference_of(message: Mapping[str, Any]) -> str:
    return f"{message['channel_id']} {message['id']}"


def card(body: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The question with its buttons; without them once it is decided. What is to be run is shown to the letter."""
    shown = SPECIAL.sub(r"\\\1", text)
    description = shown if len(shown) <= EMBED_CHARACTERS else f"{shown[: EMBED_CHARACTERS - 2].rstrip(chr(92))}…"
    approval = body["approval"]
    buttons = [
        {"type": 2, "label": label, "style": style, "custom_id": f"heyfleet:{letter}:{approval['id']}"}
        for label, letter, style in LABELS
    ]
    rows = [{"type": 1, "components": buttons}] if approval.get("state") == "pending" else []
    return {"content": "", "embeds": [{"description": description}], "components": rows}


def texts_of(delivery: Outbound) -> list[str]:
    """The messages that its text takes. The same each time, since they are sent one by one."""
    text = str(delivery.body.get("text", ""))
    if "approval" in delivery.body:
        return [text]
    pieces = split(text, lambda piece: len(discord_markdown(piece)) <= DISCORD_MOST) or [text]
    # A draft is one message; what does not fit into it is read with the reply.
    return pieces[:1] if delivery.kind == "draft" else pieces
