"""What a request asks for, in any of the ways that https://core.telegram.org/bots/api#making-requests allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message as Headers
from typing import Any
from urllib.parse import parse_qs

from tests.fakes.provider import Request
from tests.fakes.telegram.refusals import bad_request

_SENDING = "chat_id message_thread_id disable_notification protect_content reply_parameters reply_markup"
_CAPTION = "caption parse_mode caption_entities show_caption_above_media has_spoiler disable_content_type_detection"
KNOWN = {
    "getMe": "",
    "getUpdates": "offset limit timeout allowed_updates",
    "setWebhook": "url certificate ip_address max_connections allowed_updates drop_pending_updates secret_token",
    "deleteWebhook": "drop_pending_updates",
    "getWebhookInfo": "",
    "sendMessage": f"{_SENDING} text parse_mode entities link_preview_options",
    "sendDocument": f"{_SENDING} {_CAPTION} document thumbnail",
    "sendPhoto": f"{_SENDING} {_CAPTION} photo",
    "editMessageText": "chat_id message_id text parse_mode entities link_preview_options reply_markup",
    "editMessageReplyMarkup": "chat_id message_id reply_markup",
    "deleteMessage": "chat_id message_id",
    "sendChatAction": "chat_id message_thread_id action",
    "setMessageReaction": "chat_id message_id reaction is_big",
    "getFile": "file_id",
    "answerCallbackQuery": "callback_query_id text show_alert url cache_time",
    "setMyCommands": "commands scope language_code",
    "getMyCommands": "scope language_code",
    "getChat": "chat_id",
    "getChatMember": "chat_id user_id",
}
"""The methods and their parameters. Telegram ignores others, and so hides a slip of the pen."""

CANONICAL = {name.lower(): name for name in KNOWN}
"""Methods are case-insensitive: https://core.telegram.org/bots/api#making-requests."""


@dataclass(frozen=True)
class Upload:
    """A file in a multipart request."""

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class Parameters:
    values: Mapping[str, Any]
    """Numbers, lists and objects as they are in JSON; as text in the other ways."""
    gone: Callable[[], bool] = lambda: False
    """Whether the one who asks has hung up."""

    def text(self, name: str) -> str:
        value = self.values.get(name)
        return "" if value is None or isinstance(value, Upload) else str(value)

    def whole(self, name: str, default: int = 0, least: int | None = None, most: int | None = None) -> int:
        """What is no number is the default, and what is out of bounds is the bound; so does Telegram."""
        try:
            number = int(self.text(name))
        except ValueError:
            number = default
        number = number if least is None else max(number, least)
        return number if most is None else min(number, most)

    def flag(self, name: str) -> bool:
        return self.text(name).strip().lower() in ("true", "yes", "1")

    def structure(self, name: str, called: str) -> Any:
        """An object or list; None where there is none."""
        value = self.values.get(name)
        if isinstance(value, str):
            try:
                return json.loads(value) if value else None
            except ValueError:
                raise bad_request(f"can't parse {called} JSON object") from None
        return value

    def upload(self, name: str) -> Upload | None:
        """Under the parameter's own name, or under another one with attach://name.

        https://core.telegram.org/bots/api#sending-files
        """
        value = self.values.get(name)
        if isinstance(value, str) and value.startswith("attach://"):
            value = self.values.get(value.removeprefix("attach://"))
        return value if isinstance(value, Upload) else None


def parameters_of(request: Request) -> Parameters:
    """Raises Refusal for what can't be read."""
    kind = request.headers.get("content-type", "")
    values: dict[str, Any] = dict(request.query)
    if kind.startswith("application/json") and request.body:
        values |= json_object(request.body)
    elif kind.startswith("multipart/form-data"):
        values |= multipart(kind, request.body)
    elif kind.startswith("application/x-www-form-urlencoded"):
        values |= urlencoded(request.body)
    return Parameters(values, request.gone)


def urlencoded(body: bytes) -> dict[str, Any]:
    return {name: last for name, (*_, last) in parse_qs(body.decode(), keep_blank_values=True).items()}


def json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise bad_request("can't parse request body as JSON object")
    return found


def multipart(kind: str, body: bytes) -> dict[str, Any]:
    """RFC 7578."""
    headers = Headers()
    headers["Content-Type"] = kind
    boundary = str(headers.get_param("boundary", "")).encode()
    found: dict[str, Any] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = Headers()
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            lines[name] = value
        field = str(lines.get_param("name", header="content-disposition"))
        file = lines.get_filename()
        found[field] = content.decode() if file is None else Upload(file, lines.get_content_type(), content)
    return found
