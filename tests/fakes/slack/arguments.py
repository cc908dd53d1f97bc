"""The arguments of a call: from the query, a form, a multipart form or a JSON body.

https://docs.slack.dev/apis/web-api/ ("Methods": arguments and content types)
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from email.message import Message as Header
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from tests.fakes.provider import Request
from tests.fakes.slack.refusals import Refused

TIMESTAMP = re.compile(r"\d{10}\.\d{6}")
Item = TypeVar("Item")


def content_type(request: Request) -> tuple[str, dict[str, str]]:
    """The media type and its parameters, in lower case."""
    header = Header()
    header["Content-Type"] = request.headers.get("content-type", "")
    parameters = header.get_params() or []
    return header.get_content_type(), {name.lower(): value for name, value in parameters[1:]}


def multipart(body: bytes, boundary: str) -> dict[str, bytes]:
    """The parts by their names; a file without a name of its own is called "file"."""
    parts = {}
    for piece in body.split(b"--" + boundary.encode())[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found = re.search(rb'[ ;]name="([^"]*)"', head)
        parts[found[1].decode() if found else "file"] = content.removesuffix(b"\r\n")
    return parts


def read(request: Request) -> dict[str, Any]:
    """All arguments; what Slack cannot read is refused with its names for that."""
    found: dict[str, Any] = dict(request.query)
    if request.method != "POST" or not request.body:
        return found
    if "content-type" not in request.headers:
        raise Refused("missing_post_type")
    kind, parameters = content_type(request)
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "iso-8859-1"):
        raise Refused("invalid_charset")
    if kind == "application/json":
        return found | json_object(request.body)
    if kind == "application/x-www-form-urlencoded":
        return found | dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    if kind == "multipart/form-data":
        parts = multipart(request.body, parameters.get("boundary", ""))
        return found | {name: value.decode(errors="replace") for name, value in parts.items()}
    raise Refused("invalid_post_type")


def json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        raise Refused("invalid_json") from None
    if not isinstance(found, dict):
        raise Refused("json_not_object")
    return found


class Arguments:
    """One call's arguments, each read as what it has to be."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def has(self, name: str) -> bool:
        return self.values.get(name) not in (None, "")

    def text(self, name: str, default: str = "") -> str:
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, dict | list):
            raise Refused.because("invalid_arguments", f"must be a string [json-pointer:/{name}]")
        return str(value)

    def needed(self, name: str) -> str:
        if not self.has(name):
            raise Refused.because("invalid_arguments", f"missing required field: {name}")
        return self.text(name)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.values.get(name)
        return default if value is None else str(value).lower() in ("1", "true", "t")

    def number(self, name: str, default: int) -> int:
        try:
            return int(self.text(name) or default)
        except ValueError:
            raise Refused.because("invalid_arguments", f"must be a number [json-pointer:/{name}]") from None

    def structure(self, name: str, refusal: str) -> Any:
        """A list or an object: as it is in a JSON body, or as JSON in a string; None where there is none."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value else None
        except ValueError:
            raise Refused(refusal) from None

    def timestamp(self, name: str, refusal: str) -> str:
        """Empty where there is none. A number will not do: 1602251441.001700 as a float loses its zeros.

        https://github.com/slackapi/python-slack-sdk/issues/840
        """
        value = self.values.get(name)
        if value in (None, ""):
            return ""
        if not isinstance(value, str) or not TIMESTAMP.fullmatch(value):
            raise Refused.because(refusal, f"{value} is not a valid {name}")
        return value


def page(items: Sequence[Item], args: Arguments, default: int, most: int) -> tuple[Sequence[Item], str]:
    """The items that the cursor points at, and the cursor of those after them ("": these were the last).

    https://docs.slack.dev/apis/web-api/pagination
    """
    start = 0
    if args.has("cursor"):
        try:
            start = int(base64.b64decode(args.text("cursor"), validate=True).decode().removeprefix("from:"))
        except (binascii.Error, ValueError):
            raise Refused("invalid_cursor") from None
    limit = min(args.number("limit", default), most)
    if limit < 1:
        raise Refused("invalid_limit")
    stop = start + limit
    following = base64.b64encode(f"from:{stop}".encode()).decode() if stop < len(items) else ""
    return items[start:stop], following
