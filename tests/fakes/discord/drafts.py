"""From the body of a call to a message that is fine to send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakes.discord import refusals
from tests.fakes.discord.bodies import Ask, File
from tests.fakes.discord.refusals import Refused, invalid
from tests.fakes.discord.rules import ATTACHMENTS, check_message
from tests.fakes.discord.state import State
from tests.fakes.discord.world import EPHEMERAL, SUPPRESS_EMBEDS, SUPPRESS_NOTIFICATIONS, Attachment, Message

# Who is mentioned where nothing is said of it: .../resources/message#allowed-mentions-object
EVERYBODY, PEOPLE_ONLY = ("users", "roles", "everyone"), ("users",)


@dataclass(frozen=True)
class Draft:
    content: str
    embeds: list[dict[str, Any]]
    components: list[dict[str, Any]]
    attachments: list[Attachment]
    flags: int
    allowed: Mapping[str, Any] | None

    def write(self, message: Message) -> None:
        message.content, message.embeds = self.content, self.embeds
        message.components, message.attachments = self.components, self.attachments


def draft(fake: State, ask: Ask, payload: Mapping[str, Any], old: Message | None = None) -> Draft:
    """Checked. Of a message that is edited, what is not said stays."""
    check_message(payload)

    def said(name: str, before: Any, empty: Any) -> Any:
        return (payload[name] or empty) if name in payload else before

    made = Draft(
        # Discord trims; what is white only is empty.
        content=said("content", old.content if old else "", "").strip(),
        embeds=said("embeds", old.embeds if old else [], []),
        components=said("components", old.components if old else [], []),
        attachments=attachments(fake, ask.files(), payload, old),
        flags=(payload.get("flags") or 0) & (SUPPRESS_EMBEDS | SUPPRESS_NOTIFICATIONS | EPHEMERAL),
        allowed=payload.get("allowed_mentions"),
    )
    if not (made.content or made.embeds or made.components or made.attachments):
        raise Refused(*refusals.EMPTY)
    return made


def attachments(fake: State, files: list[File], payload: Mapping[str, Any], old: Message | None) -> list[Attachment]:
    """https://docs.discord.com/developers/reference#editing-message-attachments"""
    if any(len(file.content) > fake.largest_file for file in files):
        raise Refused(*refusals.TOO_LARGE)
    kept = list(old.attachments) if old else []
    listed = payload.get("attachments")
    named: dict[str, Mapping[str, Any]] = {}
    if listed is not None:
        named = {str(one.get("id")): one for one in listed}
        for number, one in enumerate(named):
            if one not in {str(file.n) for file in files} | {before.id for before in kept}:
                said = f"Attachment data {one} was not found."
                raise invalid(f"attachments.{number}.id", "ATTACHMENT_NOT_FOUND", said)
        kept = [one for one in kept if one.id in named]
    made = kept + [attachment(fake, file, named.get(str(file.n), {})) for file in files]
    if len(made) > ATTACHMENTS:
        raise Refused(*refusals.TOO_MANY_ATTACHMENTS)
    return made


def attachment(fake: State, file: File, named: Mapping[str, Any]) -> Attachment:
    # What is no part of a plain file name is made an underscore.
    filename = re.sub(r"[^\w.-]", "_", str(named.get("filename") or file.filename))
    return Attachment(fake.snowflakes.next(), filename, file.content, file.content_type, named.get("description"))
