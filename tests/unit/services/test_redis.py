from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.errors import Permanent
from app.services.process import exists, wait_until
from app.services.redis import EmbeddedRedis


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder whose parent the servers' user can enter, in a path that has to be quoted."""
    folder = Path(tempfile.mkdtemp(prefix='heyfleet-test-"quoted" '))
    folder.chmod(0o711)
    yield folder / "redis"
    shutil.rmtree(folder)


def pid_of(server: EmbeddedRedis) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("server")["process_id"])


def test_a_start_can_be_repeated_by_anyone(data: Path) -> None:
    first = EmbeddedRedis(data)
    first.start()
    pid = pid_of(first)
    first.start()
    # Of an earlier process of ours, which left it behind.
    second = EmbeddedRedis(data)
    second.start()
    assert second.url == first.url
    assert pid_of(second) == pid
    second.stop()
    assert wait_until(lambda: not first.alive(), 5)
    assert not exists(pid), "a zombie"


def test_what_was_written_outlives_a_stop(data: Path) -> None:
    server = EmbeddedRedis(data)
    for number in range(3):
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.incr("starts") == number + 1
        server.stop()


def test_a_killed_one_starts_again_on_its_port(data: Path) -> None:
    server = EmbeddedRedis(data)
    server.start()
    port = server.port
    os.kill(pid_of(server), signal.SIGKILL)
    assert wait_until(lambda: not server.alive(), 5)
    server.start()
    assert server.port == port
    server.stop()


def test_a_port_that_is_taken_is_given_up(data: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = EmbeddedRedis(data, other.getsockname()[1])
        server.start()
        try:
            assert server.port != other.getsockname()[1]
            assert pid_of(server)
        finally:
            server.stop()


def test_a_failed_start_says_what_the_log_says(data: Path) -> None:
    server = EmbeddedRedis(data, None, {"no-such-setting": "1"})
    with pytest.raises(Permanent, match=r"Redis did not start \(exit code 1\); its log is .*redis\.log") as caught:
        server.start()
    assert "no-such-setting" in caught.value.detail


def test_clients_are_counted(data: Path) -> None:
    server = EmbeddedRedis(data)
    assert server.clients() == 0
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            client.ping()
            assert server.clients() == 1
    finally:
        server.stop()
