"""Who is in which user group: asked of Slack now and then, and never by everybody at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.adapters.slack import SlackAdapter
from app.adapters.slack import account as accounts
from app.adapters.slack.verify import verify
from app.config.adapters import SlackAdapter as Settings
from app.errors import Refused, Unavailable
from tests.fakes.slack import FakeSlack, serving_slack


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with serving_slack() as fake:
        yield fake


def adapter_of(fake: FakeSlack, *groups: str) -> SlackAdapter:
    tokens = {"bot_token": fake.bot_token, "signing_secret": fake.signing_secret, "api_url": fake.base_url}
    return SlackAdapter(Settings.model_validate({"kind": "slack", "name": "s", "allow": {"groups": groups}, **tokens}))


def test_groups_are_asked_for_once_a_while(slack: FakeSlack) -> None:
    ann, bob = slack.person("ann"), slack.person("bob")
    group = slack.group("on-call", [ann])
    account = adapter_of(slack, group.id).account
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: account.groups_of(ann.id), range(20)))
    assert found == [[group.id]] * 20
    assert account.groups_of(bob.id) == []
    assert len(slack.called("usergroups.list")) == 1


def test_where_slack_does_not_tell_nobody_is_let_in_by_a_guess_and_it_is_not_asked_each_time(slack: FakeSlack) -> None:
    account = adapter_of(slack, "S0AWAY").account
    slack.plan("usergroups.list", "500")
    for _ in range(5):
        with pytest.raises(Unavailable, match="S0AWAY"):
            account.groups_of("U1")
    assert len(slack.called("usergroups.list")) == 1


def test_it_is_not_asked_again_before_the_time_that_slack_named(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = adapter_of(slack, "S0AWAY").account
    monkeypatch.setattr(accounts, "AGAIN_AFTER", 0.0)
    slack.plan("usergroups.list", "429 30")
    for _ in range(3):
        with pytest.raises(Unavailable):
            account.groups_of("U1")
    assert len(slack.called("usergroups.list")) == 1


def test_in_a_group_that_there_is_not_is_nobody_and_the_others_count(slack: FakeSlack) -> None:
    ann = slack.person("ann")
    group = slack.group("on-call", [ann])
    account = adapter_of(slack, "S0WRONG", group.id).account
    assert account.groups_of(ann.id) == [group.id]
    assert len(slack.called("usergroups.list")) == 1, "with one request for all of them"


def test_what_was_known_holds_for_a_while_where_slack_does_not_tell(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = slack.person("ann")
    group = slack.group("on-call", [ann])
    account = adapter_of(slack, group.id).account
    monkeypatch.setattr(accounts, "FRESH_SECONDS", 0.0)
    assert account.groups_of(ann.id) == [group.id]
    slack.plan("usergroups.list", *["500"] * 3)
    assert account.groups_of(ann.id) == [group.id]
    monkeypatch.setattr(accounts, "STALE_SECONDS", 0.0)
    time.sleep(0.01)  # so that what is known is older than that
    with pytest.raises(Unavailable):
        account.groups_of(ann.id)


def test_a_signature_that_is_no_text_of_a_header_is_not_slack_s(slack: FakeSlack) -> None:
    headers = {"X-Slack-Request-Timestamp": str(int(time.time())), "X-Slack-Signature": "v0=é"}
    with pytest.raises(Refused, match="signature"):
        verify(headers, b"{}", [slack.signing_secret])


def test_a_body_that_is_no_text_is_not_slack_s(slack: FakeSlack) -> None:
    headers = {"X-Slack-Request-Timestamp": str(int(time.time())), "X-Slack-Signature": "v0=00"}
    with pytest.raises(Refused, match="signature"):
        verify(headers, b"\xff\xfe", [slack.signing_secret])
