"""What models write, as each provider takes it: every text of the corpus is accepted as it is formatted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.ports import Adapter
from app.results import Sent
from app.traffic import Outbound
from tests.contract.chats import NAME, Chat
from tests.contract.test_adapters import KINDS
from tests.unit.adapters.formatting.corpus import CORPUS


@pytest.fixture(params=list(KINDS))
def chat(request: pytest.FixtureRequest, database_url: str, redis_url: str) -> Iterator[Chat]:
    with KINDS[request.param].opened(database_url, redis_url) as opened:
        opened.fake.lenient = True
        opened.start(adapter={"progress": False})
        yield opened
        assert opened.fake.problems == []


def sent_whole(adapter: Adapter, address: str, name: str, text: str) -> int:
    """Send it part by part; how many it took."""
    sent: list[str] = []
    while True:
        result = adapter.send(Outbound(f"{name}", address, "reply", {"text": text}, 1, sent=sent))
        assert isinstance(result, Sent), (name, result)
        sent = [*sent, result.reference]
        if not result.more:
            return len(sent)


def test_the_provider_takes_every_text_as_it_is_formatted(chat: Chat) -> None:
    adapter = chat.ingresses[0].core.adapters[NAME]
    place = adapter.place("channel", str(chat.direct["ann"].id))
    assert place is not None
    address = adapter.address(place.reply, place.key)
    assert address is not None
    parts = sum(sent_whole(adapter, address, name, text) for name, text in CORPUS.items() if text.strip())
    assert parts > len(CORPUS)
    calls = chat.fake.called(chat.posting)
    assert [call.status for call in calls if call.status >= 400] == [], "nothing had to be sent as plain text"
    assert len(calls) == parts
