"""A Redis with TLS: its certificate is verified by all that talk to it, and its silence is noticed as any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from app.queue import Wakes, make_app
from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import wait_until
from tests.e2e.tls import SecureProxy

NOTICED_WITHIN = 60


@pytest.fixture
def secure(tmp_path: Path, redis_url: str) -> Iterator[SecureProxy]:
    folder = tmp_path / "tls"
    folder.mkdir()
    found = SecureProxy(folder, redis_url)
    yield found
    found.close()


def test_a_fleet_works_over_tls_and_notices_a_connection_that_is_silent(
    make_fleet: MakeFleet, secure: SecureProxy
) -> None:
    authority = str(secure.authority)
    fleet = make_fleet(web=1)
    fleet.redis_url = secure.url(ssl_ca_certs=authority)
    fleet.up(runner=1, beat=1, worker=1)
    answer = fleet.post("run: echo through", sync=True)
    assert (answer["status"], "through" in answer["text"]) == ("done", True), fleet.logs()
    secure.freeze()
    (web,) = fleet.of("web")
    wait_until(
        lambda: "it has heard nothing from Redis" in str(fleet.get(web, "/ready")[1].get("processes")),
        NOTICED_WITHIN,
        fleet.logs,
    )


def test_nobody_is_told_the_password_whose_certificate_is_not_known(secure: SecureProxy) -> None:
    """kombu, left to itself, would take any."""
    with make_app(secure.url()).connection_for_write() as connection, pytest.raises(OperationalError) as raised:
        connection.ensure_connection(max_retries=1, interval_start=0)
    assert "certificate verify failed" in str(raised.value)
    assert secure.heard == 0
    known = Wakes(secure.url(ssl_ca_certs=str(secure.authority)))
    assert known.thread("a")
    assert secure.heard > 0
    known.close()
