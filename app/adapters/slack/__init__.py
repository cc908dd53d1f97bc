"""The Slack adapter: events, slash commands and buttons in; messages, cards, reactions and files out."""

from __future__ import annotations

from app.adapters.slack.adapter import SlackAdapter

__all__ = ["SlackAdapter"]
