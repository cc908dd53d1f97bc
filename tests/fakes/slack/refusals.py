"""How Slack says no: `{"ok": false, "error": NAME}`, nearly always with HTTP 200.

https://docs.slack.dev/apis/web-api/ ("Evaluating responses")
"""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """What the method answers instead of doing anything."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.body = {"ok": False, "error": error, **more}

    @classmethod
    def because(cls, error: str, *reasons: str) -> Refused:
        """With sentences for the developer, where Slack has some: in `response_metadata.messages`."""
        return cls(error, response_metadata={"messages": [f"[ERROR] {reason}" for reason in reasons]})


class TooMany(Exception):
    """HTTP 429 with `Retry-After`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds
