"""The webhook adapter: trusted systems speak JSON to heyfleet, and get their replies by callback."""

from __future__ import annotations

from app.adapters.webhook.adapter import WebhookAdapter

__all__ = ["WebhookAdapter"]
