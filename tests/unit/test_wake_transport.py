"""The transport of wakes must not take TLS away."""

from __future__ import annotations

import pytest

from app.queue import make_app
from workers.celery_process import choose_transport


@pytest.mark.parametrize(("url", "tls"), [("redis://127.0.0.1:1/0", False), ("rediss://127.0.0.1:1/0", True)])
def test_the_address_decides_about_tls(url: str, tls: bool) -> None:
    app = make_app(url)
    choose_transport(app)
    with app.connection_for_read() as connection:
        assert bool(connection.ssl) is tls
        assert (type(connection.transport).__module__ == "app.wake_transport") is not tls
