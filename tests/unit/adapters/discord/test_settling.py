"""What is done about a message to Discord that may have arrived. Nothing is asked of Discord for it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr

from app.adapters.discord import DiscordAdapter
from app.clock import now
from app.config.adapters import DiscordAdapter as Settings
from app.results import Absent, Ambiguous
from app.traffic import Outbound


@pytest.fixture
def adapter() -> DiscordAdapter:
    return DiscordAdapter(Settings(kind="discord", name="discord", bot_token=SecretStr("t")))


def outbound(kind: str = "reply", *, staged: float, tried: float, replaces: tuple[str, ...] = ()) -> Outbound:
    """Made and first tried so many seconds ago."""
    at = now()
    return Outbound(
        "id",
        "1",
        kind,
        {"text": "hello"},
        2,
        replaces=replaces,
        staged_at=at - timedelta(seconds=staged),
        tried_at=at - timedelta(seconds=tried),
    )


def test_while_the_nonce_holds_it_is_sent_again(adapter: DiscordAdapter) -> None:
    """Counted from the first try: a delivery may have waited long for its channel's limit before."""
    assert adapter.settle(outbound(staged=3600, tried=100)) == Absent()


def test_after_that_nobody_can_tell(adapter: DiscordAdapter) -> None:
    assert isinstance(adapter.settle(outbound(staged=3600, tried=130)), Ambiguous)


@pytest.mark.parametrize(("kind", "replaces"), [("progress", ()), ("progress_end", ()), ("reply", ("1 2",))])
def test_what_can_be_done_twice_is_done_again(adapter: DiscordAdapter, kind: str, replaces: tuple[str, ...]) -> None:
    assert adapter.settle(outbound(kind, staged=3600, tried=3600, replaces=replaces)) == Absent()
