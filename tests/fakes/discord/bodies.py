"""Reads what comes in the body of a request: JSON, or a form of parts with files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message as Headers
from typing import Any

from tests.fakes.discord.refusals import INVALID_JSON, TOO_LARGE, Refused, invalid
from tests.fakes.provider import Request

# https://docs.discord.com/developers/resources/message#create-message-limitations
LARGEST_REQUEST = 25 * 1024 * 1024


@dataclass(frozen=True)
class File:
    """One `files[n]` of https://docs.discord.com/developers/reference#uploading-files."""

    n: int
    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True)
class Ask:
    """One call: the request, and what its path names."""

    request: Request
    ids: tuple[str, ...]
    _read: list[tuple[Any, list[File]]] = field(default_factory=list, repr=False)

    def json(self) -> Any:
        return self._parts()[0]

    def object(self) -> dict[str, Any]:
        found = self.json()
        if not isinstance(found, dict):
            raise invalid("", "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return found

    def files(self) -> list[File]:
        return self._parts()[1]

    def _parts(self) -> tuple[Any, list[File]]:
        if not self._read:
            self._read.append(read(self.request))
        return self._read[0]


def read(request: Request) -> tuple[Any, list[File]]:
    if len(request.body) > LARGEST_REQUEST:
        raise Refused(*TOO_LARGE)
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        return read_form(kind, request.body)
    if kind.split(";")[0].strip() != "application/json":
        # https://docs.discord.com/developers/reference#content-type
        raise invalid("", "CONTENT_TYPE_INVALID", 'Expected "Content-Type" header to be one of {application/json}.')
    return read_json(request.body), []


def read_json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise Refused(*INVALID_JSON) from None


def read_form(kind: str, body: bytes) -> tuple[Any, list[File]]:
    boundary = parameters("content-type", kind).get("boundary", "")
    payload: dict[str, Any] = {}
    files: list[File] = []
    for part in body.split(b"--" + boundary.encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        content = content.removesuffix(b"\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        headers = {name.lower(): value for name, value in headers.items()}
        named = parameters("content-disposition", headers.get("content-disposition", ""))
        name = named.get("name", "")
        if name == "payload_json":
            payload |= read_json(content)
        elif found := re.fullmatch(r"files\[(\d+)\]", name):
            if "filename" not in named:
                raise invalid(name, "BASE_TYPE_REQUIRED", "This field is required")
            kind_of_file = headers.get("content-type", "application/octet-stream")
            files.append(File(int(found[1]), named["filename"], kind_of_file, content))
        else:
            payload[name] = content.decode()
    return payload, files


def parameters(header: str, value: str) -> Mapping[str, str]:
    """Those of a header like `form-data; name="a"; filename="b"`."""
    parsed = Headers()
    parsed[header] = value
    found = parsed.get_params(header=header, unquote=True) or []
    return {name.lower(): given for name, given in found if isinstance(given, str)}
