"""What a language model writes in Markdown, in the formats of the chat providers, and cut to the lengths they take."""

from __future__ import annotations

from app.adapters.formatting.discord import discord_markdown
from app.adapters.formatting.lengths import (
    DISCORD_MOST,
    SLACK_MOST,
    SLACK_SECTION_MOST,
    TELEGRAM_MOST,
    telegram_length,
    utf16_length,
)
from app.adapters.formatting.plain import plain
from app.adapters.formatting.slack import slack_mrkdwn
from app.adapters.formatting.split import split
from app.adapters.formatting.telegram import telegram_html

__all__ = [
    "DISCORD_MOST",
    "SLACK_MOST",
    "SLACK_SECTION_MOST",
    "TELEGRAM_MOST",
    "discord_markdown",
    "plain",
    "slack_mrkdwn",
    "split",
    "telegram_html",
    "telegram_length",
    "utf16_length",
]
