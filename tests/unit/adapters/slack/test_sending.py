"""How Slack is written to: within which limits, and what is sent where it takes no blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.adapters.slack.adapter import DRAFTS, EDITS, SlackAdapter
from app.clock import now
from app.config.adapters import SlackAdapter as Settings
from app.results import Sent
from app.traffic import Outbound
from tests.fakes.slack import FakeSlack, serving_slack

QUESTION = "May I run this?\nrm -rf *x* <y>"


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with serving_slack() as fake:
        yield fake


def adapter_of(fake: FakeSlack, **more: Any) -> SlackAdapter:
    tokens = {"bot_token": fake.bot_token, "signing_secret": fake.signing_secret, "api_url": fake.base_url}
    return SlackAdapter(Settings.model_validate({"kind": "slack", "name": "s", **tokens, **more}))


def outbound(address: str, **more: Any) -> Outbound:
    given = {
        "id": "d1",
        "kind": "reply",
        "body": {"text": "hello"},
        "attempt": 1,
        "staged_at": now(),
        "tried_at": now(),
    }
    return Outbound(address=address, **{**given, **more})


def test_drafts_leave_room_for_the_replies_that_come_by_edits_too(slack: FakeSlack) -> None:
    adapter = adapter_of(slack)
    draft = outbound("C1", kind="draft", replaces=["1.1"])
    assert adapter.limits(draft) == [DRAFTS, EDITS]
    assert adapter.limits(outbound("C1", replaces=["1.1"])) == [EDITS]
    assert DRAFTS.count / DRAFTS.seconds < EDITS.count / EDITS.seconds
    # A draft that is posted for the first time is a message like others.
    assert adapter.limits(outbound("C1", kind="draft")) == adapter.limits(outbound("C1"))


def test_a_card_whose_blocks_are_refused_is_a_plain_text_to_the_letter(slack: FakeSlack) -> None:
    """Without buttons, but its code is in it: the question is not lost."""
    slack.takes_blocks = False
    channel = slack.channel("general", members=[slack.person("ann")])
    body = {"text": QUESTION, "approval": {"id": "1", "state": "pending"}}
    assert isinstance(adapter_of(slack).send(outbound(channel.id, kind="approval:1", body=body)), Sent)
    (message,) = slack.messages(channel)
    assert (message.text, message.blocks) == ("May I run this?\nrm -rf *x* &lt;y&gt;", [])
    (refused, taken) = slack.called("chat.postMessage")
    assert "blocks" in refused.params
    assert taken.params["mrkdwn"] in (False, "false", "0")
