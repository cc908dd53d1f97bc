"""P8: the memory of a whole local fleet that has nothing to do, started as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.services.account import account_for
from bench.processes import pss, tree
from bench.report import Figure
from bench.rig import Rig
from tests.e2e.fleet import REPOSITORY, free_port, wait_until

MB = 1_000_000


def p8(rig: Rig) -> list[Figure]:
    # The figure is that of rest: what a start allocates and frees must be over.
    settle = 5 if rig.quick else 20
    with local_fleet(rig.folder / "idle") as (fleet, environment):
        time.sleep(settle)  # rest has no event to wait for
        whole = pss(tree(fleet.pid))
        with another_worker(environment) as worker:
            time.sleep(settle)  # as above
            wider = pss(tree(fleet.pid)) + pss(tree(worker.pid))
    return [
        Figure("P8", "idle local fleet, all processes (PSS)", whole / MB, "MB", 600),
        Figure("P8", "each further worker", (wider - whole) / MB, "MB", 120),
    ]


@contextmanager
def local_fleet(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """`heyfleet start` with its own embedded servers, ready."""
    state = folder / "state"
    state.mkdir(parents=True)
    account = account_for(state / "postgres")
    if account:  # as root: what belongs to the servers' user is used as it is
        os.chown(state, account.uid, account.gid)
    port = free_port()
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(REPOSITORY),
        "HEYFLEET_STATE_DIR": str(state),
        "HEYFLEET_HTTP__PORT": str(port),
        "HEYFLEET_FLOWER__PORT": str(free_port()),
    }
    log = folder / "fleet.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "app.cli.main", "start"]
        fleet = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: ready(port), 90, lambda: f"the fleet is not ready:\n{log.read_text()}")
        yield fleet, environment
    finally:
        # What honcho starts does not always end with it.
        started = tree(fleet.pid)
        fleet.terminate()
        fleet.wait(60)
        wait_until(lambda: not pss(started), 60, lambda: f"still there after a minute: {started}")


@contextmanager
def another_worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "workers", "worker"],
        cwd=Path(environment["HOME"]),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait(60)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
