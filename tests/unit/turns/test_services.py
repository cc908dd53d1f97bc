"""What stands for an adapter that this process does not have."""

from __future__ import annotations

from datetime import timedelta

from app.clock import now
from app.results import Ambiguous, Failed, Held, Retry
from app.traffic import Outbound
from app.turns.services import Unconfigured


def outbound(minutes: float) -> Outbound:
    """Made so long ago."""
    return Outbound("id", "x", "reply", {"text": "hello"}, 1, staged_at=now() - timedelta(minutes=minutes))


def test_a_delivery_waits_for_a_process_that_has_its_adapter() -> None:
    assert isinstance(Unconfigured("new").send(outbound(9)), Held)
    assert Unconfigured("new").settle(outbound(9)) == Retry("no adapter is named new", 5.0, doubtful=True)


def test_in_the_end_it_is_said_that_nobody_has_it() -> None:
    assert Unconfigured("gone").send(outbound(11)) == Failed("no adapter is named gone")
    assert Unconfigured("gone").settle(outbound(11)) == Ambiguous("no adapter is named gone")
