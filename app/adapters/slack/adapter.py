"""Deliveries to Slack. https://docs.slack.dev/apis/web-api"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.webhook import WebhookClient

from app.adapters.formatting import SLACK_MOST, plain, slack_mrkdwn, split
from app.adapters.reading import not_sent, understood
from app.adapters.slack import blocks
from app.adapters.slack.account import Account
from app.adapters.slack.answers import refusal
from app.adapters.slack.files import address_of, download, upload
from app.adapters.slack.history import find_file, find_message
from app.adapters.slack.parse import happening_of
from app.config.adapters import SlackAdapter as Settings
from app.errors import Permanent, Transient
from app.ports import Drafts, InDoubt
from app.results import Absent, Ambiguous, Failed, Place, Retry, SendResult, Sent, Settled
from app.traffic import EVERYWHERE, Happening, Limit, Outbound

log = structlog.get_logger()

SEPARATOR = " "
"""Between channel and thread in an address."""
REACTION = "eyes"
EVENT_TYPE = "heyfleet_delivery"
GONE = frozenset(("message_not_found", "cant_update_message", "edit_window_closed", "msg_too_long"))
"""The message can't become what it is to become: another one is sent."""
REFUSED_BLOCKS = frozenset(("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"))
DONE_BEFORE = {"reactions_add": frozenset(("already_reacted",)), "reactions_remove": frozenset(("no_reaction",))}

# https://docs.slack.dev/apis/web-api/rate-limits: one message a second for a channel, with short bursts; several
# hundred a minute for a workspace; reactions and edits by their methods' tiers.
MESSAGES = Limit(EVERYWHERE, 300, 60.0, burst=10)
REACTIONS = Limit("reactions", 40, 60.0, burst=20)
EDITS = Limit("edits", 50, 60.0, burst=10)
DRAFTS = Limit("drafts", 35, 60.0, burst=5)


class SlackAdapter:
    """See `app.ports.Adapter`."""

    in_doubt: InDoubt = "look"
    answers_each = False

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self.settings = settings
        self.drafts: Drafts = "edited" if settings.streaming else "none"
        # Its own retries send again what may have arrived.
        self.client = WebClient(settings.bot_token.get_secret_value(), settings.api_url, timeout=10, retry_handlers=[])
        self._salt = settings.bot_token.get_secret_value().encode()
        self.account = Account(self.client, settings)

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:  # noqa: ARG002 (the port's signature)
        return SEPARATOR.join(filter(None, (reply.get("channel"), reply.get("thread")))) or None

    def progress(self, reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"message": reply["message"]} if self.settings.progress and reply.get("message") else None

    def place(self, kind: str, name: str) -> Place | None:
        """A channel by its id, or the direct messages with a person by theirs, whose own id Slack tells."""
        if kind == "user":
            name = self.account.direct(name)
        return Place(name, name, reply={"channel": name, "thread": None}) if kind in ("channel", "user") else None

    def understand(self, kind: str, payload: Mapping[str, Any]) -> Happening | None:
        """What an envelope of this kind tells of, with who its sender is. Raises Unavailable."""
        me = self.account.me()
        happening = understood(self.name, lambda: happening_of(kind, payload, self.settings, me, self._salt))
        if happening is None or not self.account.groups:
            return happening
        sender = replace(happening.sender, groups=self.account.groups_of(happening.sender.id))
        return replace(happening, sender=sender)

    def shown(self, text: str) -> str:
        return slack_mrkdwn(text)

    def whisper(self, url: str, text: str) -> None:
        """Tell it to who pressed a button, and to nobody else. Best effort: the URL holds for this moment only, and is
        kept nowhere. https://docs.slack.dev/interactivity/handling-user-interaction#async_responses"""
        try:
            WebhookClient(url, timeout=2, retry_handlers=[]).send(
                text=slack_mrkdwn(text), response_type="ephemeral", replace_original=False
            )
        except (SlackClientError, OSError, ValueError) as error:
            log.warning("not_whispered", adapter=self.name, error=type(error).__name__)

    def limits(self, delivery: Outbound) -> Sequence[Limit]:
        if delivery.kind.startswith("progress"):
            return [REACTIONS]
        if delivery.kind == "draft" and edits(delivery):
            # With less than all of the room that there is: the reply comes by an edit too.
            return [DRAFTS, EDITS]
        if edits(delivery):
            return [EDITS]
        return [MESSAGES, Limit(delivery.address.partition(SEPARATOR)[0], count=1, seconds=1.0, burst=2)]

    def send(self, delivery: Outbound) -> SendResult:
        try:
            return self._send(delivery)
        except (SlackClientError, OSError, ValueError) as error:
            return refusal(error, self.limits(delivery)[-1].key)

    def fetch(self, source: Mapping[str, Any], most: int) -> bytes:
        url = source.get("url")
        if not url:
            try:
                url = address_of(self.client, str(source["id"]))
            except (SlackClientError, OSError) as error:
                failed = refusal(error, EVERYWHERE)
                why = f"Slack does not say where it is: {failed.reason}"
                raise (Permanent(why) if isinstance(failed, Failed) else Transient(why)) from error
        return download(str(url), self.settings, most, html=bool(source.get("html")))

    def settle(self, delivery: Outbound) -> Settled:
        """Reactions can be done twice, and so can edits; but where what was to be changed is gone, a message was sent.
        Messages carry the id of their delivery, and files their name."""
        pieces = self._texts(delivery)
        if delivery.kind.startswith("progress"):
            return Absent()
        channel, thread = parts_of(delivery.address)
        try:
            if len(delivery.sent) < len(pieces):
                found = find_message(self.client, channel, thread, delivery, mark_of(delivery))
                return sent(found, delivery, pieces) if isinstance(found, str) else found
            file = delivery.files[len(delivery.sent) - len(pieces)]
            found = find_file(self.client, channel, thread, delivery, file["name"], self.account.me().user)
            if isinstance(found, Absent):
                # Or what was said in its place.
                found = find_message(self.client, channel, thread, delivery, mark_of(delivery))
            return sent(found, delivery, pieces) if isinstance(found, str) else found
        except (SlackClientError, OSError) as error:
            failed = refusal(error, EVERYWHERE)
            if isinstance(failed, Failed):
                return Ambiguous(f"whether it has arrived can't be looked up: {failed.reason}")
            return Retry(failed.reason, failed.after if isinstance(failed, Retry) else None, doubtful=True)

    def _send(self, delivery: Outbound) -> SendResult:
        channel, thread = parts_of(delivery.address)
        if delivery.kind == "progress":
            return self._react("reactions_add", channel, delivery)
        if delivery.kind == "progress_end":
            return self._react("reactions_remove", channel, delivery)
        pieces = self._texts(delivery)
        number = len(delivery.sent)
        if number >= len(pieces):
            file = delivery.files[number - len(pieces)]
            return sent(self._share(delivery, channel, thread, file), delivery, pieces)
        return sent(self._say(delivery, channel, thread, pieces[number]), delivery, pieces)

    def _share(self, delivery: Outbound, channel: str, thread: str | None, file: Mapping[str, str]) -> str:
        """A file; or, where Slack does not take it, a line that says so, and what comes behind it is not held up."""
        try:
            return upload(self.client, channel, thread, file)
        except (SlackClientError, OSError, ValueError) as error:
            failed = refusal(error, EVERYWHERE)
            if not isinstance(failed, Failed):
                raise
            return self._put(delivery, channel, thread, {"text": blocks.escaped(not_sent(file["name"], failed.reason))})

    def _react(self, method: str, channel: str, delivery: Outbound) -> SendResult:
        try:
            getattr(self.client, method)(channel=channel, timestamp=delivery.body["message"], name=REACTION)
        except SlackApiError as error:
            if error.response.get("error") not in DONE_BEFORE[method]:
                raise
        return Sent("shown")

    def _say(self, delivery: Outbound, channel: str, thread: str | None, text: str) -> str:
        """Post a part of it, or change the message that it replaces. What Slack calls the message."""
        shown: dict[str, Any] = {"text": slack_mrkdwn(text)}
        if "approval" in delivery.body:
            shown = {"text": blocks.escaped(text), "blocks": blocks.card(delivery.body)}
        try:
            return self._put(delivery, channel, thread, shown)
        except SlackApiError as error:
            if error.response.get("error") not in REFUSED_BLOCKS:
                raise
            if "approval" in delivery.body:
                # As it is: what is to be run is shown to the letter.
                return self._put(delivery, channel, thread, {"text": blocks.escaped(text), "mrkdwn": False})
            return self._put(delivery, channel, thread, {"text": blocks.escaped(plain(text))})

    def _texts(self, delivery: Outbound) -> list[str]:
        return texts_of(delivery, in_bytes=self.drafts == "edited")

    def _put(self, delivery: Outbound, channel: str, thread: str | None, shown: Mapping[str, Any]) -> str:
        loud = bool(thread and self.settings.response.broadcast and delivery.kind == "reply") or None
        if edits(delivery):
            ts = delivery.replaces[0]
            try:
                self.client.chat_update(channel=channel_of(ts, channel), ts=ts_of(ts), reply_broadcast=loud, **shown)
            except SlackApiError as error:
                if error.response.get("error") not in GONE or delivery.kind == "draft":
                    raise
            else:
                return ts
        answer = self.client.chat_postMessage(
            channel=channel,
            thread_ts=thread,
            reply_broadcast=loud,
            metadata={"event_type": EVENT_TYPE, "event_payload": mark_of(delivery)},
            # What a model writes is not to be fetched by whoever reads it.
            unfurl_links=False,
            unfurl_media=False,
            **shown,
        )
        # A person's id was given where a channel's is wanted: what Slack made of it is needed for edits.
        return f"{answer['channel']} {answer['ts']}"


def parts_of(address: str) -> tuple[str, str | None]:
    channel, _, thread = address.partition(SEPARATOR)
    return channel, thread or None


def channel_of(reference: str, otherwise: str) -> str:
    return reference.partition(" ")[0] if " " in reference else otherwise


def ts_of(reference: str) -> str:
    return reference.rpartition(" ")[2]


def edits(delivery: Outbound) -> bool:
    """Whether its next part changes a message that is there."""
    return bool(delivery.replaces) and not delivery.sent


def mark_of(delivery: Outbound) -> dict[str, Any]:
    """What tells this part of this delivery from every other message."""
    return {"delivery": delivery.id, "part": len(delivery.sent)}


def texts_of(delivery: Outbound, *, in_bytes: bool) -> list[str]:
    """The messages that its text takes. The same each time, since they are sent one by one. `in_bytes`: a message that
    is changed may not have more bytes than another has characters."""
    text = str(delivery.body.get("text", ""))
    if "approval" in delivery.body or delivery.kind.startswith("progress"):
        return [text]

    def fits(piece: str) -> bool:
        shown = slack_mrkdwn(piece)
        return len(shown.encode() if in_bytes else shown) <= SLACK_MOST

    pieces = split(text, fits) or [text]
    # A draft is one message; what does not fit into it is read with the reply.
    return pieces[:1] if delivery.kind == "draft" else pieces


def sent(reference: str, delivery: Outbound, pieces: Sequence[str]) -> Sent:
    return Sent(reference, more=len(delivery.sent) + 1 < len(pieces) + len(delivery.files))
