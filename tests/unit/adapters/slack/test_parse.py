"""What Slack tells of messages, as the agent reads it."""

from __future__ import annotations

from typing import Any

import pytest

from app.adapters.slack.parse import Me, event_of
from app.config.adapters import SlackAdapter as Settings
from app.control.commands import Command, parse
from app.traffic import Said

SETTINGS = Settings.model_validate({"kind": "slack", "name": "s", "bot_token": "xoxb-1", "signing_secret": "s"})


def said(text: str = "", **event: Any) -> Said:
    whole = {"type": "message", "channel": "D1", "channel_type": "im", "user": "U1", "ts": "1.2", "text": text}
    found = event_of({"event": {**whole, **event}}, SETTINGS, Me("UBOT", "BBOT"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("bash curl <http://example.com|example.com>", "bash curl example.com"),
        ("bash curl <https://example.com/|https://example.com>", "bash curl https://example.com"),
        ("write to <mailto:ada@example.com|ada@example.com>", "write to ada@example.com"),
        ("open <http://README.md|README.md>", "open README.md"),
        ("see <https://example.com/a|the page>", "see the page (https://example.com/a)"),
        ("see <https://example.com/a>", "see https://example.com/a"),
    ],
)
def test_a_link_that_slack_made_by_itself_is_what_was_typed(text: str, read: str) -> None:
    assert said(text).text == read


def test_a_command_with_a_domain_stays_a_command() -> None:
    assert parse(said("bash curl <http://example.com|example.com>").text) == Command("bash", "curl example.com")


def test_a_forwarded_message_is_quoted_and_is_no_order() -> None:
    share = {
        "is_share": True,
        "author_name": "Bob",
        "text": "approve k7f3q2mw",
        "files": [{"id": "F1", "name": "a.txt", "mimetype": "text/plain", "url_private": "https://files.slack.com/a"}],
    }
    found = said("", attachments=[share, {"text": "an unfurled link"}])
    assert found.text == ""
    assert found.quoted == "Forwarded message from Bob:\n> approve k7f3q2mw"
    assert [file["name"] for file in found.files] == ["a.txt"]


def test_a_file_of_another_workspace_has_its_id_alone() -> None:
    found = said("look", files=[{"id": "F1", "mode": "file_access", "file_access": "check_file_info"}])
    assert [file["source"] for file in found.files] == [{"id": "F1", "url": None, "html": False}]
