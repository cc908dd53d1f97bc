"""The verbs of the providers beside a running gateway."""

from __future__ import annotations

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import wait_until
from tests.e2e.test_cli import as_json, run
from tests.e2e.test_gateway import NAME, leader, telegram
from tests.fakes.telegram import serving_telegram


def test_doctor_and_observe_know_whether_a_gateway_polls(make_fleet: MakeFleet) -> None:
    with serving_telegram() as fake:
        fleet = make_fleet(config={"adapters": [telegram(fake)]})

        def gateway() -> tuple[str, str]:
            (found,) = [each for each in as_json(fleet, "doctor") if each["what"] == "gateway"]
            return found["level"], found["said"]

        assert gateway() == ("warning", f"nobody holds telegram {NAME}: start a gateway (python -m gateway)")
        assert run(fleet, "telegram", "observe", "--seconds", "1").stdout == ""
        fleet.start("gateway")
        leader(fleet, f"telegram {NAME}")
        wait_until(lambda: gateway()[0] == "ok", 20, fleet.logs)
        refused = run(fleet, "telegram", "observe", "--seconds", "1", code=1)
        assert "a gateway of this fleet polls" in refused.stderr
        assert fake.conflicts == 0, "nobody was disturbed"
        assert fake.token not in refused.stdout + refused.stderr
