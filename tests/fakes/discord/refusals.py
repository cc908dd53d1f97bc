"""How Discord says no: a code and a sentence, and for forms what is wrong with which field."""

from __future__ import annotations

from typing import Any

from tests.fakes.provider import Answer

# Codes: https://docs.discord.com/developers/topics/opcodes-and-status-codes#json
NOT_FOUND = (404, 0, "404: Not Found")
NOT_ALLOWED = (405, 0, "405: Method Not Allowed")
UNAUTHORIZED = (401, 0, "401: Unauthorized")
UNKNOWN_CHANNEL = (404, 10003, "Unknown Channel")
UNKNOWN_GUILD = (404, 10004, "Unknown Guild")
UNKNOWN_MEMBER = (404, 10007, "Unknown Member")
UNKNOWN_MESSAGE = (404, 10008, "Unknown Message")
UNKNOWN_EMOJI = (400, 10014, "Unknown Emoji")
UNKNOWN_WEBHOOK = (404, 10015, "Unknown Webhook")
UNKNOWN_INTERACTION = (404, 10062, "Unknown interaction")
NOT_YOUR_APPLICATION = (403, 20012, "You are not authorized to perform this action on this application")
TOO_MANY_REACTIONS = (400, 30010, "Maximum number of reactions reached (20)")
TOO_MANY_ATTACHMENTS = (400, 30015, "Maximum number of attachments in a message reached (10)")
TOO_LARGE = (413, 40005, "Request entity too large")
NO_MESSAGES_IN_FORUMS = (400, 40058, "Cannot send a message in a forum channel")
ALREADY_ANSWERED = (400, 40060, "Interaction has already been acknowledged.")
MISSING_ACCESS = (403, 50001, "Missing Access")
NOT_IN_A_DM = (403, 50003, "Cannot execute action on a DM channel")
NOT_THE_AUTHOR = (403, 50005, "Cannot edit a message authored by another user")
EMPTY = (400, 50006, "Cannot send an empty message")
TAKES_NO_DMS = (403, 50007, "Cannot send messages to this user")
NOT_A_TEXT_CHANNEL = (400, 50008, "Cannot send messages in a non-text channel")
MISSING_PERMISSIONS = (403, 50013, "Missing Permissions")
SYSTEM_MESSAGE = (403, 50021, "Cannot execute action on a system message")
NOT_IN_THIS_KIND = (400, 50024, "Cannot execute action on this channel type")
INVALID_WEBHOOK_TOKEN = (401, 50027, "Invalid Webhook Token")
INVALID_RECIPIENT = (400, 50033, "Invalid Recipient(s)")
THREAD_IS_ARCHIVED = (400, 50083, "Thread is archived")
INVALID_JSON = (400, 50109, "The request body contains invalid JSON.")
THREAD_IS_THERE = (400, 160004, "A thread has already been created for this message")


class Refused(Exception):
    """What Discord answers instead of doing it."""

    def __init__(self, status: int, code: int, message: str, errors: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code} {message} {errors or ''}")
        self.status = status
        self.body = {"message": message, "code": code, **({"errors": errors} if errors else {})}

    def answer(self) -> Answer:
        return Answer(self.status, self.body)


class Form:
    """Collects what is wrong with a body, as https://docs.discord.com/developers/reference#error-messages shows."""

    def __init__(self) -> None:
        self.errors: dict[str, Any] = {}

    def wrong(self, path: str, code: str, message: str) -> None:
        """`path` is dotted: `embeds.0.title`; empty for the whole."""
        at = self.errors
        for part in path.split(".") if path else ():
            at = at.setdefault(part, {})
        at.setdefault("_errors", []).append({"code": code, "message": message})

    def length(self, path: str, value: Any, most: int, least: int = 0) -> None:
        """Of a text in code points, or of a list."""
        if value is None and least == 0:
            return
        if value is None:
            self.wrong(path, "BASE_TYPE_REQUIRED", "This field is required")
        elif not isinstance(value, str | list):
            self.wrong(path, "STRING_TYPE_CONVERT", f'Could not interpret "{value}" as string.')
        elif len(value) > most and least == 0:
            self.wrong(path, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
        elif not least <= len(value) <= most:
            self.wrong(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length.")

    def choice(self, path: str, value: Any, choices: tuple[Any, ...]) -> bool:
        # True is no 1 here.
        fits = value in choices and not isinstance(value, bool)
        if not fits:
            self.wrong(path, "BASE_TYPE_CHOICES", f"Value must be one of {choices}.")
        return fits

    def check(self) -> None:
        if self.errors:
            raise Refused(400, 50035, "Invalid Form Body", self.errors)


def invalid(path: str, code: str, message: str) -> Refused:
    form = Form()
    form.wrong(path, code, message)
    return Refused(400, 50035, "Invalid Form Body", form.errors)
