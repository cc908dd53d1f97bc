"""compose.yaml: what it promises on paper, and, where a Docker engine can be started, the fleet that comes of it.

The base of the image is made on this machine, of Debian's packages; Postgres and Redis are Debian's too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config.settings import Settings
from app.config.units import seconds as seconds_of
from tests.e2e.fleet import REPOSITORY, free_port, wait_until

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]
PROCESS: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose" / "process.yaml").read_text())["services"]["process"]
OURS = {name: service for name, service in COMPOSE.items() if "extends" in service}
BASE, SERVERS, IMAGE = "heyfleet-test-base", "heyfleet-test-servers", "heyfleet-test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
SECRET = "webhook-secret-of-the-test"
MINUTES = 60


# --- on paper


def test_it_has_every_process_and_both_servers() -> None:
    processes = {"migrate", "web", "worker", "runner", "beat", "gateway", "flower"}
    assert set(OURS) == processes
    assert set(COMPOSE) - processes == {"postgres", "redis"}
    assert COMPOSE["beat"]["scale"] == 2


def test_each_is_as_small_a_target_as_can_be() -> None:
    assert PROCESS["read_only"] is True
    assert PROCESS["cap_drop"] == ["ALL"]
    assert PROCESS["security_opt"] == ["no-new-privileges:true"]
    assert PROCESS["init"] is True
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert re.search(r"^USER \d+:\d+$", dockerfile, re.MULTILINE), "not root, and a number that an orchestrator can see"
    assert re.search(r"^ARG BASE=", dockerfile, re.MULTILINE)
    for service in OURS.values():
        assert not {"privileged", "cap_add", "user", "network_mode", "pid"} & set(service)


def test_each_has_a_health_check_comes_back_and_has_time_to_end() -> None:
    assert "HEALTHCHECK" in (REPOSITORY / "Dockerfile").read_text()
    assert PROCESS["restart"] == "unless-stopped"
    assert seconds_of(PROCESS["stop_grace_period"]) > Settings().drain
    for name in ("postgres", "redis"):
        assert COMPOSE[name]["healthcheck"]
        assert COMPOSE[name]["restart"]
    for name, service in OURS.items():
        wanted = service["depends_on"]
        assert wanted["postgres"] == {"condition": "service_healthy"}
        if name != "migrate":
            assert wanted["migrate"] == {"condition": "service_completed_successfully"}


def test_every_secret_comes_from_the_environment_and_is_in_the_example() -> None:
    text = (REPOSITORY / "compose.yaml").read_text() + (REPOSITORY / "compose" / "process.yaml").read_text()
    example = (REPOSITORY / "compose" / "example.env").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    assert {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "HEYFLEET_WEBHOOK_SECRET", "HEYFLEET_FLOWER__BASIC_AUTH"} == needed
    assert all(f"\n{name}=\n" in example for name in needed)


# --- for real


def run(*command: str, seconds: float = 60, **more: Any) -> str:
    """What it prints; fails with all of it."""
    found = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **more)
    assert found.returncode == 0, f"{' '.join(command)}\n{found.stdout[-3000:]}\n{found.stderr[-3000:]}"
    return found.stdout


def engine_answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode == 0


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Docker engine: the one that runs here, or one for this test."""
    for program in ("docker", "docker-compose", "debootstrap"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if os.getuid() != 0:
        pytest.skip("a base image is made by root only")
    if engine_answers():
        yield
        return
    if shutil.which("dockerd") is None:
        pytest.skip("no Docker engine runs, and dockerd is not installed")
    log = tmp_path_factory.mktemp("docker") / "dockerd.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(["dockerd"], stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while not engine_answers():
            if daemon.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"the Docker engine does not start here: {log.read_text()[-300:]}")
            time.sleep(0.5)  # until it answers, ends, or the deadline
        yield
    finally:
        daemon.terminate()
        daemon.wait(60)


@pytest.fixture(scope="module")
def images(engine: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("base")
    if not run("docker", "images", "-q", BASE).strip():
        make_base(folder)
    for image, more in ((IMAGE, ["."]), (SERVERS, ["-f", "servers.Dockerfile", "."])):
        where = REPOSITORY if image == IMAGE else REPOSITORY / "tests" / "compose"
        # The host's network: its own resolver may be the only one that works.
        build = ["docker", "build", "-q", "--network", "host", "-t", image, "--build-arg", f"BASE={BASE}", *more]
        run(*build, seconds=20 * MINUTES, cwd=where)


def make_base(folder: Path) -> None:
    """A minimal Debian with Python, that trusts whom this machine trusts."""
    root, archive = folder / "root", folder / "base.tar"
    packages = "python3,python3-venv,ca-certificates"
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)],
        capture_output=True,
        text=True,
        timeout=20 * MINUTES,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"no base can be made here: {made.stdout[-300:]}")
    shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\ntimeout = 180\n")
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".")
    run("docker", "import", str(archive), BASE, seconds=5 * MINUTES)
    shutil.rmtree(root)
    archive.unlink()


class Stack:
    """`docker-compose` with an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.port, self.project = free_port(), f"heyfleettest{os.getpid()}"
        values = {
            "POSTGRES_PASSWORD": "pg-pass-of-the-test",
            "REDIS_PASSWORD": "redis-pass-of-the-test",
            "HEYFLEET_WEBHOOK_SECRET": SECRET,
            "HEYFLEET_FLOWER__BASIC_AUTH": "ops:flower-pass-of-the-test",
            "POSTGRES_IMAGE": SERVERS,
            "REDIS_IMAGE": SERVERS,
            "FLEET_IMAGE": IMAGE,
            "BASE_IMAGE": BASE,
            "ENV_FILE": str(folder / "test.env"),
            "SLACK_BOT_TOKEN": "xoxb-of-the-test",
            "PORT_WEB": f"127.0.0.1:{self.port}",
            "PORT_FLOWER": f"127.0.0.1:{free_port()}",
        }
        self.env = folder / "test.env"
        self.env.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def compose(self, *arguments: str, seconds: float = 5 * MINUTES) -> str:
        command = ["docker-compose", "-p", self.project, "--env-file", str(self.env), *arguments]
        return run(*command, seconds=seconds, cwd=REPOSITORY)

    def states(self) -> dict[str, list[str]]:
        """Of each service, how its containers are."""
        found: dict[str, list[str]] = {}
        ids = run("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}").split()
        for container in json.loads(run("docker", "inspect", *ids)) if ids else ():
            state = container["State"]
            health = state["Health"]["Status"] if "Health" in state else f"{state['Status']} {state['ExitCode']}"
            found.setdefault(container["Config"]["Labels"]["com.docker.compose.service"], []).append(health)
        return found

    def post(self, text: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/webhook/internal",
            json.dumps({"user": "ada", "text": text, "sync": True}).encode(),
            {"Authorization": f"Bearer {SECRET}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError as error:
            return {"error": str(error)}


@pytest.fixture
def stack(images: None, tmp_path: Path) -> Iterator[Stack]:
    found = Stack(tmp_path)
    try:
        yield found
    finally:
        found.compose("down", "-v", "--timeout", "5")


WELL = {
    "postgres": 1,
    "redis": 1,
    "web": 1,
    "worker": 3,
    "runner": 1,
    "beat": 2,
    "gateway": 1,
    "flower": 1,
}


@pytest.mark.timeout(50 * MINUTES)
def test_the_whole_fleet_comes_up_scaled_and_well_and_a_killed_worker_is_not_missed(stack: Stack) -> None:
    stack.compose("up", "-d", "--no-build", "--scale", "worker=3", seconds=10 * MINUTES)
    wanted = {name: ["healthy"] * count for name, count in WELL.items()} | {"migrate": ["exited 0"]}
    wait_until(lambda: stack.states() == wanted, 240, lambda: f"{stack.states()}\n{stack.compose('logs', '--tail=20')}")
    assert stack.post("run: echo from a container")["text"] == "It printed:\nfrom a container"
    workers = stack.compose("ps", "-q", "worker").split()
    assert len(workers) == 3
    identity = run("docker", "exec", workers[0], "sh", "-c", "id -u; touch /here 2>&1 || true")
    assert identity.startswith("10001\n")
    assert "Read-only file system" in identity
    assert "SLACK_BOT_TOKEN=xoxb-of-the-test\n" in run("docker", "exec", workers[0], "env")
    (redis,) = stack.compose("ps", "-q", "redis").split()
    assert run("docker", "exec", redis, "id", "-un") == "redis\n"
    run("docker", "kill", workers[0])
    assert [stack.post(f"say: {n}")["text"] for n in range(3)] == ["0", "1", "2"]
    stack.compose("stop", "worker", seconds=2 * MINUTES)
    codes = {run("docker", "inspect", "-f", "{{.State.ExitCode}}", worker).strip() for worker in workers[1:]}
    assert codes == {"0"}, "they ended in order, and were not killed when their time was over"
