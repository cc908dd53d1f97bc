"""The errors that heyfleet raises. Whether to try again is in the type, decided where the answer was read."""

from __future__ import annotations


class HeyfleetError(Exception):
    """Something that heyfleet can name.

    `message` is one line for a person; `detail` is for the operator's event and is never shown in chat.
    """

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class Transient(HeyfleetError):
    """May pass by itself: try again later, after `retry_after` seconds when the other side named a time."""

    def __init__(self, message: str, *, detail: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class Permanent(HeyfleetError):
    """Will not pass by itself: trying again would end the same way."""


class ContextOverflow(Permanent):
    """The model refused the request because the transcript is longer than its context window."""


class Refused(HeyfleetError):
    """Asked for something that is not allowed, does not exist, or makes no sense; `status` is its HTTP status."""

    def __init__(self, message: str, *, status: int = 400, detail: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, detail=detail)
        self.status = status
        self.retry_after = retry_after


class Unavailable(Transient):
    """A part that heyfleet itself stands on (Postgres, Redis) is out of reach."""


class TookTooLong(Unavailable):
    """Postgres is there, but a statement waited or worked for longer than it may."""


class ConfigError(HeyfleetError):
    """The configuration is wrong. `problems` has one line for each error: the place, what is wrong, the cure."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class LeaseLost(HeyfleetError):
    """Another process holds the lane now: whatever this one was doing must not be committed."""


class Cancelled(HeyfleetError):
    """The turn was cancelled, or the process drains: the work stops where it stands."""
