from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.errors import Permanent
from app.services.account import account_for
from app.services.postgres import EmbeddedPostgres
from app.services.process import exists, spawn, wait_until

FAST = {"fsync": "off"}


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder whose parent the servers' user can enter; as root, pytest's own are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="heyfleet-test-"))
    folder.chmod(0o711)
    yield folder / "postgres"
    shutil.rmtree(folder)


def pid_of(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().split()[0])


def answer(server: EmbeddedPostgres) -> object:
    with psycopg.connect(server.url.replace("+psycopg", ""), connect_timeout=5) as connection:
        found = connection.execute("SELECT current_database() || ' ' || current_user").fetchone()
    return found and found[0]


def test_a_start_can_be_repeated_by_anyone(data: Path) -> None:
    first = EmbeddedPostgres(data, None, FAST)
    first.start()
    pid = pid_of(data)
    first.start()
    # Of an earlier process of ours, which left it behind.
    second = EmbeddedPostgres(data, None, FAST)
    second.start()
    assert second.url == first.url
    assert answer(second) == "heyfleet heyfleet"
    assert pid_of(data) == pid
    second.stop()
    assert wait_until(lambda: not first.alive(), 5)
    assert not exists(pid), "a zombie"
    with pytest.raises(psycopg.OperationalError):
        answer(first)


def test_what_a_kill_left_does_not_hinder_the_next(data: Path) -> None:
    # A half-made data folder, and the pid file of a server whose number is another program's now.
    draft = data.with_name("postgres.new")
    draft.mkdir()
    (draft / "junk").touch()
    server = EmbeddedPostgres(data, None, FAST)
    server.start()
    server.stop()
    other = spawn(
        ["/bin/sleep", "60"],
        account=account_for(data),
        log=data.with_name("log"),
        death_signal=signal.SIGTERM,
        mark="sleep",
    )
    (data / "postmaster.pid").write_text(f"{other.pid}\n{data}\n0\n{server.port}\n\n127.0.0.1\n")
    again = EmbeddedPostgres(data, server.port, FAST)
    again.start()
    assert answer(again) == "heyfleet heyfleet"
    assert other.alive()
    other.stop([(signal.SIGTERM, 5.0)])
    os.kill(pid_of(data), signal.SIGKILL)
    assert wait_until(lambda: not again.alive(), 5)
    assert again.ended() == "killed by SIGKILL"
    again.start()
    assert answer(again) == "heyfleet heyfleet"
    again.stop()


def test_a_port_that_is_taken_is_given_up(data: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        server = EmbeddedPostgres(data, taken, FAST)
        server.start()
        try:
            assert server.port != taken
            assert answer(server) == "heyfleet heyfleet"
        finally:
            server.stop()


def test_a_failed_start_says_what_the_log_says(data: Path) -> None:
    server = EmbeddedPostgres(data, None, {**FAST, "no_such_setting": "1"})
    with pytest.raises(
        Permanent, match=r"Postgres did not start \(exit code 1\); its log is .*postgres\.log"
    ) as caught:
        server.start()
    assert "no_such_setting" in caught.value.detail


def test_clients_of_heyfleets_are_counted(data: Path) -> None:
    server = EmbeddedPostgres(data, None, FAST)
    assert server.clients() == 0
    server.start()
    try:
        url = server.url.replace("+psycopg", "")
        with psycopg.connect(url, application_name="heyfleet web"), psycopg.connect(url, application_name="psql"):
            assert server.clients() == 1
    finally:
        server.stop()
    assert server.clients() == 0
