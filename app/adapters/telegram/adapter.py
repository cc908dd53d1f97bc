"""Deliveries to Telegram. https://core.telegram.org/bots/api"""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx2 as httpx
import structlog

from app.adapters.formatting import TELEGRAM_MOST, plain, split, telegram_html, telegram_length, utf16_length
from app.adapters.reading import not_sent, understood
from app.adapters.telegram.api import Api, Refusal, refusal
from app.adapters.telegram.parse import Me, happening_of
from app.config.adapters import TelegramAdapter as Settings
from app.errors import Permanent, Transient, Unavailable
from app.ports import Drafts, InDoubt
from app.results import Absent, Ambiguous, Failed, Place, Retry, SendResult, Sent, Settled
from app.traffic import EVERYWHERE, Happening, Limit, Outbound

log = structlog.get_logger()

SEPARATOR = " "
"""Between chat and topic in an address."""
REACTION = "👀"
LABELS = (("Approve", "a"), ("Approve, and don't ask for a while", "b"), ("Deny", "d"))
LONGEST_NOTICE = 200
"""https://core.telegram.org/bots/api#answercallbackquery"""
SAME = "message is not modified"
GONE = ("message to edit not found", "message can't be edited")

# https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this: one message a second in a chat, 20 a
# minute in a group, 30 a second in all. What a burst takes is left out of the rest of its minute.
MESSAGES = Limit(EVERYWHERE, 25, 1.0, burst=5)
REACTIONS = Limit("reactions", 10, 1.0, burst=5)


class TelegramAdapter:
    """See `app.ports.Adapter`. Telegram has no way to look a message up: what may have arrived is left to people."""

    in_doubt: InDoubt = "look"
    answers_each = False

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self.settings = settings
        self.drafts: Drafts = "edited" if settings.streaming else "none"
        self.api = Api(settings)
        self._me: Me | None = None
        self._lock = threading.Lock()

    def me(self) -> Me:
        """Who the bot is. Raises Unavailable."""
        with self._lock:
            if self._me is None:
                try:
                    found = self.api.call("getMe", {})
                except (Refusal, httpx.HTTPError) as error:
                    why = str(error) if isinstance(error, Refusal) else type(error).__name__
                    raise Unavailable(f"Telegram does not say who the bot is: {why}") from error
                self._me = Me(int(found["id"]), str(found.get("username") or ""))
            return self._me

    def understand(self, update: Mapping[str, Any]) -> Happening | None:
        """What an update tells of. Raises Unavailable."""
        me = self.me()
        return understood(self.name, lambda: happening_of(update, self.settings, me))

    def notice(self, query: str, text: str) -> None:
        """Tell who pressed a button that it was taken, and what is for them alone. Best effort: the query is answered
        now or never."""
        shown = text if len(text) <= LONGEST_NOTICE else f"{text[: LONGEST_NOTICE - 1]}…"
        params = {"callback_query_id": query, "text": shown or None, "show_alert": True if shown else None}
        try:
            self.api.call("answerCallbackQuery", params, timeout=2.0)
        except (Refusal, httpx.HTTPError) as error:
            log.warning("button_not_answered", adapter=self.name, error=type(error).__name__)

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:  # noqa: ARG002 (the port's signature)
        if reply.get("chat") is None:
            return None
        return SEPARATOR.join(str(part) for part in (reply["chat"], reply.get("topic")) if part is not None)

    def progress(self, reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"message": reply["message"]} if self.settings.progress and reply.get("message") else None

    def place(self, kind: str, name: str) -> Place | None:
        """A chat by its id, `CHAT/TOPIC` for a topic; a person's private chat has the person's id."""
        chat, _, topic = name.partition("/")
        key = f"{chat} {topic}" if topic else chat
        reply = {"chat": chat, "topic": int(topic) if topic.isdigit() else None}
        return Place(key, chat, reply=reply) if kind in ("channel", "user") else None

    def limits(self, delivery: Outbound) -> Sequence[Limit]:
        if delivery.kind.startswith("progress"):
            return [REACTIONS]
        chat = delivery.address.partition(SEPARATOR)[0]
        group = [Limit(f"group {chat}", count=15, seconds=60.0, burst=5)] if chat.startswith("-") else []
        return [MESSAGES, *group, Limit(chat, count=1, seconds=1.0, burst=1)]

    def fetch(self, source: Mapping[str, Any], most: int) -> bytes:
        """https://core.telegram.org/bots/api#getfile: of 20 MB at most, whatever is allowed here."""
        try:
            file = self.api.call("getFile", {"file_id": source["id"]})
            return self.api.download(str(file["file_path"]), most)
        except Refusal as error:
            if error.code == 429 or error.code >= 500:
                raise Transient(f"Telegram does not give it now: {error.description}") from error
            raise Permanent(f"Telegram does not give it: {error.description}") from error
        except httpx.HTTPError as error:
            raise Transient(f"the connection to Telegram broke: {type(error).__name__}") from error

    def settle(self, delivery: Outbound) -> Settled:
        """Reactions and edits can be done twice; but where what was to be changed is gone, a message was sent."""
        if delivery.kind.startswith("progress"):
            return Absent()
        if edits(delivery):
            try:
                shown = {"text": plain(texts_of(delivery)[0]), "link_preview_options": {"is_disabled": True}}
                if self._changed(delivery, shown):
                    return Absent()
            except (Refusal, httpx.HTTPError) as error:
                found = refusal(error, self.limits(delivery)[-1].key)
                why = f"whether it is there can't be told now: {found.reason}"
                return (
                    replace(found, reason=why, doubtful=True) if isinstance(found, Retry) else Retry(why, doubtful=True)
                )
        return Ambiguous("it may have arrived, and Telegram has no way to find out: look into the chat")

    def send(self, delivery: Outbound) -> SendResult:
        try:
            return self._send(delivery)
        except (Refusal, httpx.HTTPError, httpx.InvalidURL) as error:
            return refusal(error, self.limits(delivery)[-1].key)

    def _send(self, delivery: Outbound) -> SendResult:
        where = where_of(delivery.address)
        if delivery.kind.startswith("progress"):
            reaction = [{"type": "emoji", "emoji": REACTION}] if delivery.kind == "progress" else []
            message = {"chat_id": where["chat_id"], "message_id": delivery.body["message"], "reaction": reaction}
            self.api.call("setMessageReaction", message)
            return Sent("shown")
        pieces, number = texts_of(delivery), len(delivery.sent)
        more = number + 1 < len(pieces) + len(delivery.files)
        if number < len(pieces):
            return Sent(self._say(delivery, where, pieces[number]), more)
        return Sent(self._share(where, delivery.files[number - len(pieces)]), more)

    def _share(self, where: Mapping[str, Any], file: Mapping[str, str]) -> str:
        """A file; or, where Telegram does not take it, a line that says so, and what comes behind it is not held up."""
        content = ("document", file["name"], base64.b64decode(file["data"]), file["media_type"])
        try:
            return reference_of(self.api.call("sendDocument", where, file=content))
        except Refusal as error:
            failed = refusal(error, EVERYWHERE)
            if not isinstance(failed, Failed):
                raise
            return reference_of(self.api.call("sendMessage", {"text": not_sent(file["name"], failed.reason), **where}))

    def _say(self, delivery: Outbound, where: Mapping[str, Any], text: str) -> str:
        if "approval" in delivery.body:
            # As it is: what is to be run is shown to the letter.
            return self._put(delivery, where, {"text": text, "reply_markup": buttons_of(delivery.body)})
        try:
            return self._put(delivery, where, {"text": telegram_html(text), "parse_mode": "HTML"})
        except Refusal as error:
            if "can't parse entities" not in error.description:
                raise
            return self._put(delivery, where, {"text": plain(text)})

    def _changed(self, delivery: Outbound, shown: Mapping[str, Any]) -> bool:
        """False where the message that it replaces is gone. Can be done again."""
        chat, _, message = delivery.replaces[0].partition(" ")
        try:
            self.api.call("editMessageText", {**shown, "chat_id": chat, "message_id": int(message)})
        except Refusal as error:
            if SAME in error.description:
                return True
            if delivery.kind == "draft" or not any(words in error.description for words in GONE):
                raise
            return False
        return True

    def _put(self, delivery: Outbound, where: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
        """Send it, or change the message that it replaces. What Telegram calls the message."""
        whole = {**shown, "link_preview_options": {"is_disabled": True}}
        if edits(delivery) and self._changed(delivery, whole):
            return delivery.replaces[0]
        answered = delivery.body.get("answers")
        if answered and not delivery.sent:
            whole["reply_parameters"] = {"message_id": answered, "allow_sending_without_reply": True}
        return reference_of(self.api.call("sendMessage", {**whole, **where}))


def where_of(address: str) -> dict[str, Any]:
    chat, _, topic = address.partition(SEPARATOR)
    return {"chat_id": chat, **({"message_thread_id": int(topic)} if topic else {})}


def edits(delivery: Outbound) -> bool:
    """Whether its next part changes a message that is there."""
    return bool(delivery.replaces) and not delivery.sent


def reference_of(message: Mapping[str, Any]) -> str:
    return f"{message['chat']['id']} {message['message_id']}"


def buttons_of(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """None: an edit without them takes them away."""
    approval = body["approval"]
    if approval.get("state") != "pending":
        return None
    return {
        "inline_keyboard": [
            [{"text": label, "callback_data": f"{letter}:{approval['id']}"}] for label, letter in LABELS
        ]
    }


def texts_of(delivery: Outbound) -> list[str]:
    """The messages that its text takes. The same each time, since they are sent one by one."""
    text = str(delivery.body.get("text", ""))
    if "approval" in delivery.body:
        return [text if utf16_length(text) <= TELEGRAM_MOST else f"{text[: TELEGRAM_MOST // 2]}…"]
    pieces = split(text, lambda piece: telegram_length(telegram_html(piece)) <= TELEGRAM_MOST) or [text]
    # A draft is one message; what does not fit into it is read with the reply.
    return pieces[:1] if delivery.kind == "draft" else pieces
