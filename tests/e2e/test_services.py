"""`heyfleet services` as a process of its own: what it starts, what it leaves behind however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from app.config.settings import Settings
from app.errors import Unavailable
from app.services.addresses import Addresses, wait_for
from app.services.process import command_line
from tests.e2e.services_process import Services, mode, none_alive, until

IS_ROOT = os.geteuid() == 0
NOBODY = 65534
ON_LINUX = sys.platform.startswith("linux")


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_for_all() as made:
        yield made


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Services]]:
    """Start `services` on a `state_dir` named below `folder`; each is stopped in the end."""
    started: list[Services] = []

    def one(name: str = "state", **settings: Any) -> Services:
        started.append(Services(state_dir_in(folder, name), **settings))
        return started[-1]

    yield one
    for services in started:
        if services.process.poll() is None:
            services.end()


@pytest.fixture(scope="module")
def running() -> Iterator[Services]:
    """One for all tests that only look."""
    with folder_for_all() as folder:
        services = Services(state_dir_in(folder, "state")).ready()
        yield services
        services.end()


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder that every user can enter: pytest's own are closed to the user that the servers run as for root."""
    made = Path(tempfile.mkdtemp(prefix="heyfleet-test-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def state_dir_in(folder: Path, name: str) -> Path:
    state_dir = folder / name
    if IS_ROOT and not state_dir.exists():
        # As an ordinary user's, so that the data is in it.
        state_dir.mkdir(mode=0o700)
        os.chown(state_dir, NOBODY, NOBODY)
    return state_dir


def test_a_second_start_finds_its_data_on_the_same_ports(start: Callable[..., Services]) -> None:
    first = start().ready()
    urls = first.urls()
    with psycopg.connect(urls[0]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'yes' AS word")
    with redis.Redis.from_url(urls[1]) as client:
        client.set("kept", "yes")
    servers = first.servers()
    assert first.end() == 0
    assert none_alive(servers)

    second = start().ready()
    assert second.urls() == urls
    with psycopg.connect(urls[0]) as connection:
        assert connection.execute("SELECT word FROM kept").fetchone() == ("yes",)
    with redis.Redis.from_url(urls[1], decode_responses=True) as client:
        assert client.get("kept") == "yes"


def test_addresses_are_told_when_the_tables_are_there(running: Services) -> None:
    assert "migrate [None, None]" in running.text()
    assert None not in running.urls()


def test_nobody_else_can_read_what_it_keeps(running: Services) -> None:
    assert mode(running.state_dir) == mode(running.state_dir / "postgres") == mode(running.state_dir / "redis") == 0o700
    for path in running.state_dir.iterdir():
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    assert mode(running.state_dir / "redis" / "valkey.conf") == 0o600
    assert mode(running.state_dir.parent) == 0o711, "no right of a folder above is changed"


def test_nobody_else_can_see_a_password(running: Services) -> None:
    commands = " ".join(command_line(pid) for pid in running.servers())
    assert "valkey.conf" in commands
    for url in running.urls():
        password = urlsplit(url).password
        assert password
        assert len(password) > 40
        assert password not in commands
        assert password not in running.text()


def test_passwords_are_asked_for(running: Services) -> None:
    postgres, cache = running.urls()
    for wrong in (re.sub(r":[^:@]+@", ":wrong@", postgres), re.sub(r":[^:@]+@", "@", postgres)):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)
    for wrong in (re.sub(r":[^:@]+@", ":wrong@", cache), re.sub(r":[^:@]+@", "", cache)):
        with redis.Redis.from_url(wrong) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_they_listen_on_this_machine_only_and_are_durable(running: Services) -> None:
    postgres, cache = running.urls()
    wanted = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "server_encoding": "UTF8",
        "max_connections": "200",
        "shared_buffers": "64MB",
    }
    with psycopg.connect(postgres) as connection:
        for name, value in wanted.items():
            assert connection.execute(f"SHOW {name}").fetchone() == (value,)
        assert connection.execute("SELECT datcollate FROM pg_database").fetchone() == ("C",)
    with redis.Redis.from_url(cache, decode_responses=True) as client:
        for name, value in {"bind": "127.0.0.1", "maxmemory-policy": "noeviction", "appendonly": "yes"}.items():
            assert client.config_get(name) == {name: value}


@pytest.mark.skipif(not ON_LINUX, reason="only Linux tells a child of its parent's death")
def test_a_kill_leaves_no_server(start: Callable[..., Services]) -> None:
    services = start().ready()
    servers = services.servers()
    services.end(signal.SIGKILL)
    until(lambda: none_alive(servers), 10)


def test_a_start_right_after_a_kill_finds_its_data(start: Callable[..., Services]) -> None:
    services = start().ready()
    with psycopg.connect(services.urls()[0]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'yes' AS word")
    for _ in range(3):
        # The servers may be on their way out yet, or stay and be taken over.
        services.end(signal.SIGKILL)
        services = start().ready()
    with psycopg.connect(services.urls()[0]) as connection:
        assert connection.execute("SELECT word FROM kept").fetchone() == ("yes",)
    servers = services.servers()
    assert services.end() == 0
    assert none_alive(servers)


def test_ctrl_c_reaches_the_servers_through_us_only(start: Callable[..., Services]) -> None:
    services = start().ready()
    servers = services.servers()
    sessions = {os.getsid(pid) for pid in servers}
    assert os.getsid(services.process.pid) not in sessions
    assert len(sessions) == 2
    os.killpg(services.process.pid, signal.SIGINT)
    assert services.process.wait(15) == 0
    assert none_alive(servers)
    assert "servers_stopped" in services.text()
    assert "Traceback" not in services.text()


def test_two_state_dirs_side_by_side(start: Callable[..., Services]) -> None:
    one, other = start("one"), start("other")
    ports = [url.rpartition(":")[2] for services in (one.ready(), other.ready()) for url in services.urls()]
    assert len({port.partition("/")[0] for port in ports}) == 4
    servers = other.servers()
    assert one.end() == 0
    assert other.servers() == servers


def test_one_state_dir_has_one_services(start: Callable[..., Services]) -> None:
    first = start().ready()
    servers = first.servers()
    second = start()
    assert second.process.wait(15) == 1
    assert f"run already (process {first.process.pid}): stop them first" in second.text()
    assert first.servers() == servers


def test_a_server_that_dies_is_started_again(start: Callable[..., Services]) -> None:
    services = start().ready()
    urls, servers = services.urls(), services.servers()
    for pid in servers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: services.text().count('"server_restarted"') == 2)
    assert "killed by SIGKILL" in services.text()
    assert services.urls() == urls
    assert not set(services.servers()) & set(servers)


def test_the_others_are_waited_for(start: Callable[..., Services]) -> None:
    services = start().ready()
    with psycopg.connect(services.urls()[0], application_name="heyfleet worker", autocommit=True) as connection:
        services.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            connection.execute("SELECT 1")
    assert services.process.wait(15) == 0
    assert "stopping_under_clients" not in services.text()


def test_but_not_for_ever(start: Callable[..., Services]) -> None:
    services = start().ready()
    with psycopg.connect(services.urls()[0], application_name="heyfleet worker"):
        began = time.monotonic()
        assert services.end() == 0
        assert time.monotonic() - began > 2.9
    assert "stopping_under_clients" in services.text()


def test_the_banner_comes_when_the_web_is_ready(start: Callable[..., Services]) -> None:
    answers = [503, 503, 200]

    class Web(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.pop(0) if self.path == "/ready" and answers else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Web) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        services = start(http={"port": web.server_port}).ready()
        web.shutdown()
    assert answers == []
    assert services.text().count("BANNER") == 1


def test_nothing_is_started_where_urls_are_configured(start: Callable[..., Services]) -> None:
    postgres, cache = start("servers").ready().urls()
    services = start("other", database_url=postgres, redis_url=cache)
    until(lambda: "migrate" in services.text() or services.process.poll() is not None)
    assert services.end() == 0
    assert list(services.state_dir.glob("*")) == []


def test_a_wait_for_configured_servers_can_be_ended(start: Callable[..., Services]) -> None:
    services = start(database_url="postgresql://127.0.0.1:1/x", redis_url="redis://127.0.0.1:1")
    until(lambda: "waiting for Postgres and Redis (up to 60 s) …" in services.text())
    assert services.end() == 0
    assert "migrate" not in services.text()


def test_whoever_needs_them_waits(start: Callable[..., Services], folder: Path) -> None:
    settings = Settings(state_dir=folder / "state")
    said: list[str] = []
    found: list[Addresses] = []
    waiter = threading.Thread(target=lambda: found.append(wait_for(settings, 30, said.append)))
    waiter.start()
    until(lambda: said)
    services = start().ready()
    waiter.join(10)
    assert said == ["waiting for Postgres and Redis (up to 30 s) …"]
    assert (found[0].database_url.replace("+psycopg", ""), found[0].redis_url) == services.urls()

    # Nothing is said where nobody has to wait.
    assert wait_for(settings, 30, said.append) == found[0]
    assert len(said) == 1
    with pytest.raises(Unavailable, match="no migrations after 0 s"):
        wait_for(settings, 0, said.append, also=lambda _: "migrations")
    services.end()
    with pytest.raises(Unavailable, match="no Postgres and Redis after 0 s: start the embedded ones with"):
        wait_for(settings, 0, said.append)
