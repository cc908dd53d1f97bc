"""R8: every process is restarted under load; nothing fails, is lost or is doubled, and every ack comes in time."""

from __future__ import annotations

import pytest

from bench.rolling import FLEET, roll, with_chat
from tests.e2e.conftest import MakeFleet
from tests.fakes.receiver import Receiver
from tests.fakes.telegram import serving_telegram


@pytest.mark.timeout(300)
def test_a_rolling_restart_of_everything_is_not_noticed(make_fleet: MakeFleet, receiver: Receiver) -> None:
    with serving_telegram() as fake:
        fleet = make_fleet(**FLEET, config={"drain": "20s", **with_chat(fake)})
        found = roll(fleet, receiver, fake, rate=6, seconds=20)
    assert found.wrong == [], f"{found.text()}\n{fleet.logs()}"
    assert dict(found.stops) == FLEET
    assert len(found.acks) >= 60
    assert len(found.said) >= 20
