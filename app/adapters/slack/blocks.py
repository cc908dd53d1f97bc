"""An approval's card as Slack shows it. https://docs.slack.dev/reference/block-kit/blocks"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.adapters.slack.parse import APPROVE, BYPASS, DENY

SECTION_CHARACTERS = 3000
MOST_SECTIONS = 10
BUTTONS: tuple[tuple[str, str, str | None], ...] = (
    ("Approve", APPROVE, "primary"),
    ("Approve, and don't ask for a while", BYPASS, None),
    ("Deny", DENY, "danger"),
)


def card(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The question with its buttons; without them once it is decided."""
    approval = body["approval"]
    blocks = [section(text) for text in cut(str(body["text"]))[:MOST_SECTIONS]]
    if approval.get("state") == "pending":
        blocks.append(
            {"type": "actions", "elements": [button(*each, approval=str(approval["id"])) for each in BUTTONS]}
        )
    return blocks


def section(text: str) -> dict[str, Any]:
    """Plain: what is to be run is shown to the letter, with no star of it taken for formatting."""
    return {"type": "section", "text": {"type": "plain_text", "text": escaped(text), "emoji": False}}


def cut(text: str) -> list[str]:
    """In pieces that a section can hold, once they are escaped."""
    pieces, length = [""], 0
    for character in text:
        size = len(escaped(character))
        if length + size > SECTION_CHARACTERS:
            pieces.append("")
            length = 0
        pieces[-1] += character
        length += size
    return pieces


def button(label: str, action: str, style: str | None, approval: str) -> dict[str, Any]:
    made = {"type": "button", "text": {"type": "plain_text", "text": label}, "action_id": action, "value": approval}
    return {**made, "style": style} if style else made


def escaped(text: str) -> str:
    """https://docs.slack.dev/messaging/formatting-message-text#escaping"""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
