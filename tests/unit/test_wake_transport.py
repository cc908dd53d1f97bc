"""Whatever the address says, wakes are fetched by our own transport, and TLS is what it is elsewhere."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError

from app.broker import WAITS
from app.queue import make_app
from workers.celery_process import choose_transport


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("redis://127.0.0.1:1/0", None),
        ("unix://:word@/tmp/none.sock?db=3", None),
        ("rediss://127.0.0.1:1/0", {"ssl_cert_reqs": "required"}),
        (
            "rediss://:word@127.0.0.1:1/0?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False},
        ),
        ("rediss://127.0.0.1:1/0?ssl_cert_reqs=none", {"ssl_cert_reqs": "none"}),
    ],
)
def test_the_address_decides_about_tls(url: str, tls: object) -> None:
    app = make_app(url)
    for _ in range(2):
        with app.connection_for_read() as connection:
            assert (connection.ssl or None) == tls
        choose_transport(app)
    with app.connection_for_read() as connection:
        assert type(connection.transport).__module__ == "app.wake_transport"


@pytest.mark.parametrize(
    ("url", "hostname", "port", "database", "user", "password"),
    [
        ("redis://h", "h", 6379, "0", None, None),
        ("redis://h/0?socket_timeout=3&db=2", "h", 6379, "2", None, None),
        ("redis://me:p%40w%3A@[::1]:7/3", "::1", 7, "3", "me", "p@w:"),
        ("rediss://:word@h:7/3?health_check_interval=5", "h", 7, "3", None, "word"),
    ],
)
def test_an_address_means_to_celery_what_it_means_to_all_others(
    url: str, hostname: str, port: int, database: str, user: str | None, password: str | None
) -> None:
    with make_app(url).connection_for_write() as made:
        assert (made.hostname, made.port, made.virtual_host) == (hostname, port, database)
        assert (made.userid or None, made.password or None) == (user, password)


def test_the_password_of_a_socket_may_be_an_option() -> None:
    with make_app("unix:///tmp/r.sock?password=word&db=3").connection_for_write() as made:
        assert made.hostname == "socket://:word@/tmp/r.sock?virtual_host=3"


def test_who_lost_redis_is_soon_back() -> None:
    """kombu's own waits are 2, 4, 6 … 30 seconds, and messages that came in meanwhile would wait for that."""
    waited: list[float] = []
    app = make_app("redis://127.0.0.1:1/0")
    choose_transport(app)
    with app.connection_for_read() as connection, pytest.raises(OperationalError):
        connection.ensure_connection(lambda _, seconds: waited.append(seconds), 2)
    assert 0.25 <= waited[0] <= 0.75
    assert waited[1] == pytest.approx(waited[0] + 0.5)
    assert WAITS["interval_max"] <= 2
