"""Files that people share in Slack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.adapters.slack import SlackAdapter
from app.config.adapters import SlackAdapter as Settings
from app.errors import Permanent, Transient
from tests.fakes.slack import FakeSlack, serving_slack

MOST = 1000


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with serving_slack() as fake:
        yield fake
        assert fake.problems == []


def adapter_of(fake: FakeSlack) -> SlackAdapter:
    tokens = {"bot_token": fake.bot_token, "signing_secret": fake.signing_secret, "api_url": fake.base_url}
    return SlackAdapter(Settings.model_validate({"kind": "slack", "name": "s", **tokens}))


def shared(fake: FakeSlack, name: str, content: bytes) -> str:
    """Its id."""
    ann = fake.person("ann")
    channel = fake.channel("", kind="im", members=[ann])
    (file,) = fake.say(channel, ann, "look", files=[fake.file(name, content, ann)]).files
    return str(file.id)


def test_where_a_file_is_that_has_an_id_alone_is_asked_for(slack: FakeSlack) -> None:
    source = {"id": shared(slack, "a.txt", b"hello"), "url": None}
    assert adapter_of(slack).fetch(source, MOST) == b"hello"
    assert len(slack.called("files.info")) == 1


def test_one_that_slack_does_not_tell_of_can_t_be_had(slack: FakeSlack) -> None:
    with pytest.raises(Permanent, match="Slack does not say where it is: file_not_found"):
        adapter_of(slack).fetch({"id": "F0NOWHERE1", "url": None}, MOST)
    slack.plan("files.info", "429 7")
    with pytest.raises(Transient):
        adapter_of(slack).fetch({"id": "F0NOWHERE1", "url": None}, MOST)


def test_a_page_is_a_file_and_the_login_page_is_none(slack: FakeSlack) -> None:
    page, adapter = shared(slack, "a.html", b"<p>hello</p>"), adapter_of(slack)
    url = adapter.client.files_info(file=page)["file"]["url_private_download"]
    assert adapter.fetch({"id": page, "url": url, "html": True}, MOST) == b"<p>hello</p>"
    with pytest.raises(Permanent, match="files:read"):
        adapter.fetch({"id": page, "url": url, "html": False}, MOST)
