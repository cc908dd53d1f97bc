"""A webhook body, checked and turned into an Inbound."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from app.config.units import positive, seconds
from app.errors import Refused
from app.traffic import Inbound, safe_name, short_text

THREAD_PREFIX = "whth_"
LONGEST_WAIT_MS = 30_000
UNSAFE_IN_KEY = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Postgres stores no NUL and no half a surrogate pair, and no key of ours has any control character."""


def is_a_name(value: str) -> str:
    if UNSAFE_IN_KEY.search(value) or not value.strip():
        raise ValueError("must not be blank or contain control characters")
    return value


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(is_a_name)]
Short = Annotated[str, Field(min_length=1, max_length=200)]


class Attachment(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    name: Short
    media_type: Annotated[str, Field(max_length=100)] = "application/octet-stream"
    data: str
    """Base64."""

    @field_validator("name")
    @classmethod
    def safe(cls, name: str) -> str:
        """The last part of the name, with what a file system or a shell could trip over replaced."""
        last = safe_name(name)
        if not last:
            raise ValueError("must be a file's name")
        return last

    @field_validator("data")
    @classmethod
    def decodes(cls, data: str) -> str:
        try:
            base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("must be base64") from error
        return data


class Body(BaseModel):
    """What a caller posts."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    user: Short
    text: Annotated[str, Field(min_length=1)]
    thread_id: Short | None = None
    event_id: Short | None = None
    reply_url: Annotated[str, Field(max_length=2000)] | None = None
    sync: bool = False
    timeout_ms: Annotated[int, Field(ge=0, le=LONGEST_WAIT_MS)] = 25_000
    data: dict[str, Any] = {}
    attachments: Annotated[list[Attachment], Field(max_length=10)] = []

    @field_validator("thread_id", "event_id")
    @classmethod
    def is_a_key(cls, value: str | None) -> str | None:
        if value is not None and UNSAFE_IN_KEY.search(value):
            raise ValueError("must not contain control characters")
        return value

    @field_validator("text", "user")
    @classmethod
    def says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value


class Answer(BaseModel):
    """What an approval is answered with."""

    model_config = ConfigDict(extra="forbid")

    user: Name
    decision: Literal["approve", "deny"]
    bypass: StrictBool | Annotated[float, Field(gt=0)] | Annotated[str, Field(max_length=20)] = False
    """true, or for how long: `10m`, or seconds."""

    @property
    def bypass_seconds(self) -> float | None:
        """None: as long as configured. Raises Refused."""
        if isinstance(self.bypass, str):
            try:
                return positive(float(seconds(self.bypass)))
            except ValueError as error:
                raise Refused(f"bypass: {error}") from error
        return None if isinstance(self.bypass, bool) else self.bypass


class Cancellation(BaseModel):
    """Who cancels a run."""

    model_config = ConfigDict(extra="forbid")

    user: Name


def parse_body(raw: bytes) -> Body:
    """What a message is made of. Raises Refused (400) that names each field and what is wrong with it."""
    return parsed(Body, raw, '{"user": "ada", "text": "hello"}')


Parsed = TypeVar("Parsed", bound=BaseModel)


def parsed(model: type[Parsed], raw: bytes, example: str) -> Parsed:
    """Raises Refused (400) that names each field and what is wrong with it."""
    try:
        loaded = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise Refused(f"the body must be a JSON object such as {example}")
    try:
        return model.model_validate(loaded)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise Refused("; ".join(problems)) from error


def inbound_of(body: Body, *, agent: str, adapter: str, run: UUID, path_thread: str | None) -> Inbound:
    """The Inbound of a checked body; `path_thread` is the thread that the URL names.

    Raises Refused: 409 where body and URL name different threads, 404 where no thread can be named so.
    """
    if path_thread and UNSAFE_IN_KEY.search(path_thread):
        raise Refused("there is no such thread; leave threadId out to start one", status=404)
    if path_thread and body.thread_id and path_thread != body.thread_id:
        raise Refused("threadId in the body is not the thread of the URL", status=409)
    thread = path_thread or body.thread_id
    key = thread or THREAD_PREFIX + secrets.token_urlsafe(16)
    return Inbound(
        agent=agent,
        adapter=adapter,
        key=key,
        channel=key,
        actor=body.user,
        text=body.text,
        # Prefixed: an eventId that looks like a run id must not meet one.
        event_key=f"event {body.event_id}" if body.event_id else f"run {run}",
        data=body.data,
        attachments=[file_of(attachment) for attachment in body.attachments],
        reply={"url": body.reply_url} if body.reply_url else {},
        create_thread=thread is None,
    )


def file_of(attachment: Attachment) -> Mapping[str, Any]:
    file = {"name": attachment.name, "media_type": attachment.media_type, "data": attachment.data}
    text = short_text(attachment.media_type, base64.b64decode(attachment.data))
    return file if text is None else {**file, "text": text}
