"""How Telegram says no: {"ok": false, "error_code": …, "description": …}, and the same code as HTTP status.

https://core.telegram.org/bots/api#making-requests
"""

from __future__ import annotations

import math
from typing import Any

from tests.fakes.provider import Answer


class Refusal(Exception):
    """A method was not done."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters
        """https://core.telegram.org/bots/api#responseparameters"""

    def answer(self) -> Answer:
        body: dict[str, Any] = {"ok": False, "error_code": self.code, "description": self.description}
        if self.parameters:
            body["parameters"] = self.parameters
        return Answer(self.code, body)


def bad_request(description: str, **parameters: Any) -> Refusal:
    return Refusal(400, f"Bad Request: {description}", **parameters)


def too_many(seconds: float) -> Refusal:
    """`retry_after` is a whole number of seconds: https://core.telegram.org/bots/api#responseparameters."""
    whole = max(1, math.ceil(seconds))
    return Refusal(429, f"Too Many Requests: retry after {whole}", retry_after=whole)


def conflict(description: str) -> Refusal:
    return Refusal(409, f"Conflict: {description}")
