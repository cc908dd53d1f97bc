"""What Telegram allows how much of, and who was told to wait."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.fakes.provider import Window
from tests.fakes.telegram.model import Chat

SENDING = frozenset({"sendMessage", "sendDocument", "sendPhoto", "editMessageText", "editMessageReplyMarkup"})
"""What counts. Telegram says it of sending; in practice edits use up the same allowance."""


@dataclass
class Limits:
    """Tests make them small."""

    upload_bytes: int = 50 * 1024 * 1024
    """https://core.telegram.org/bots/api#sending-files."""
    photo_bytes: int = 10 * 1024 * 1024
    download_bytes: int = 20 * 1024 * 1024
    """https://core.telegram.org/bots/api#getfile."""
    query_seconds: float = 150
    """How long a pressed button waits for answerCallbackQuery. Nothing says how long; its update lives so long."""
    webhook_seconds: float = 10
    """How long a webhook may take; then its update is sent again."""
    retry_seconds: float = 0.1
    """Until an update is sent to the webhook for the third time; doubled each time. At Telegram 2 s."""
    retry_most_seconds: float = 1
    set_webhook: Window = field(default_factory=lambda: Window(1, 1.0))
    # One a second to a chat, though a short burst may pass; 20 a minute to a group; about 30 a second altogether:
    # https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this.
    per_chat: Window = field(default_factory=lambda: Window(3, 2.0))
    per_group: Window = field(default_factory=lambda: Window(20, 60.0))
    overall: Window = field(default_factory=lambda: Window(30, 1.0))


@dataclass
class Patience:
    """Who was told to wait until when: a method in a chat, all sending in a chat, or the whole bot."""

    until: dict[tuple[str, str], float] = field(default_factory=dict)

    def told(self, name: str, chat_id: str, seconds: float) -> None:
        self.until[name, chat_id] = time.monotonic() + seconds

    def left(self, name: str, chat_id: str) -> float:
        """How long this call should still have waited."""
        places = [(name, chat_id)]
        if name in SENDING:
            places.append(("*", chat_id))
        # Getting updates is no sending: who polls goes on with that.
        if name != "getUpdates":
            places.append(("*", "*"))
        return max((self.until.get(place, 0.0) for place in places), default=0.0) - time.monotonic()


def excess(limits: Limits, chat: Chat) -> tuple[float, bool]:
    """How long it is too early to send to this chat (0: not at all), and whether to any chat."""
    wait = limits.overall.wait("")
    if wait:
        return wait, True
    wait = limits.per_group.wait(str(chat.id)) if chat.kind in ("group", "supergroup") else 0.0
    return wait or limits.per_chat.wait(str(chat.id)), False
