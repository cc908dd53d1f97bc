"""The Discord adapter: messages by its gateway, commands and buttons by either; messages, cards and files out."""

from __future__ import annotations

from app.adapters.discord.adapter import DiscordAdapter

__all__ = ["DiscordAdapter"]
