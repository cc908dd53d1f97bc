"""The Telegram adapter: updates in by webhook or polling; messages, cards, reactions and files out."""

from __future__ import annotations

from app.adapters.telegram.adapter import TelegramAdapter

__all__ = ["TelegramAdapter"]
