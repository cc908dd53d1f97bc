"""What a web process does with bodies that don't come, come broken, or nobody wants: it goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import SECRET, Fleet

THREADS = 2
RIGHT = f"Authorization: Bearer {SECRET}\r\n"


@contextmanager
def sent(fleet: Fleet, path: str, headers: str, body: bytes = b"") -> Iterator[socket.socket]:
    (web,) = fleet.of("web")
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n{headers}\r\n"
    with closing(socket.create_connection(("127.0.0.1", web.port), timeout=30)) as connection:
        connection.sendall(head.encode() + body)
        yield connection


def status_of(connection: socket.socket) -> int:
    return int(connection.makefile("rb").readline().split()[1])


@pytest.fixture
def fleet(make_fleet: MakeFleet) -> Fleet:
    return make_fleet(web=1, config={"http": {"threads": THREADS}})


def test_senders_that_stall_hold_nobody_else_up_for_long(fleet: Fleet) -> None:
    (web,) = fleet.of("web")
    length = "Content-Length: 5000000\r\n"
    refused = [("/nope", length, 404), ("/webhook/internal", length, 401)] * THREADS
    stalling = [sent(fleet, path, headers) for path, headers, _ in refused]
    connections = [one.__enter__() for one in stalling]
    # They still stall while somebody else is served.
    assert fleet.get(web, "/health")[0] == 200
    assert [status_of(connection) for connection in connections] == [status for *_, status in refused]
    for one in stalling:
        one.__exit__(None, None, None)
    with sent(fleet, "/webhook/internal", RIGHT + "Content-Length: 500\r\n", b'{"user"') as connection:
        assert status_of(connection) == 408


def test_a_body_that_drips_is_not_waited_for(fleet: Fleet) -> None:
    with sent(fleet, "/webhook/internal", RIGHT + "Content-Length: 50000\r\n") as connection:
        answered = threading.Event()

        def drip() -> None:
            with suppress(OSError):
                while not answered.wait(0.2):
                    connection.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert status_of(connection) == 408
        finally:
            answered.set()
            dripping.join()


def test_a_sender_that_goes_away_is_no_failure_of_ours(fleet: Fleet) -> None:
    for headers, body in (("Content-Length: 500\r\n", b"{"), ("Transfer-Encoding: chunked\r\n", b"5\r\nab")):
        with sent(fleet, "/webhook/internal", RIGHT + headers, body) as connection:
            connection.shutdown(socket.SHUT_WR)
            assert status_of(connection) == 400
    assert "Traceback" not in fleet.logs()


@pytest.mark.parametrize(("headers", "status"), [("", 401), (RIGHT, 400)])
def test_a_broken_body_is_its_sender_s_fault(fleet: Fleet, headers: str, status: int) -> None:
    with sent(fleet, "/webhook/internal", headers + "Transfer-Encoding: chunked\r\n", b"ZZ\r\nx") as connection:
        assert status_of(connection) == status
    assert "Traceback" not in fleet.logs()
