"""A whole fleet of real processes for a test: started, killed and asked as an operator and a caller would."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from app.db import Database

SECRET = "a secret of the tests"
COMMANDS = {
    "web": [sys.executable, "-m", "app.cli.main", "web"],
    "worker": [sys.executable, "-m", "workers", "worker"],
    "runner": [sys.executable, "-m", "workers", "runner"],
    "beat": [sys.executable, "-m", "beat"],
    "gateway": [sys.executable, "-m", "gateway"],
    "beat-without-lease": [sys.executable, "-m", "beat", "--without-lease"],
}
REPOSITORY = Path(__file__).resolve().parents[2]

UNFINISHED = (
    "SELECT now()",
    "SELECT to_jsonb(thread) FROM thread WHERE open_turns > 0",
    "SELECT to_jsonb(turn) FROM turn WHERE finished_at IS NULL",
    "SELECT to_jsonb(call) FROM call JOIN turn ON turn.id = turn_id WHERE turn.finished_at IS NULL",
    "SELECT to_jsonb(approval) FROM approval JOIN turn ON turn.id = turn_id WHERE turn.finished_at IS NULL",
    "SELECT to_jsonb(sandbox) - 'snapshot' FROM sandbox WHERE wake_at IS NOT NULL OR lease_until IS NOT NULL",
    "SELECT to_jsonb(role) FROM role",
    "SELECT to_jsonb(runner) FROM runner",
)

FAST = {"lease": {"ttl": "3s", "renew": "1s", "sweep": "500ms"}, "drain": "5s"}


def webhook(**more: Any) -> dict[str, Any]:
    """The adapter by which tests post."""
    given = {"kind": "webhook", "name": "internal", "secret": SECRET}
    return {**given, "reply_hosts": ["127.0.0.1"], "unsafe_reply_http": True, **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Process:
    """One process of the fleet."""

    kind: str
    popen: subprocess.Popen[bytes]
    log: Path
    port: int = 0
    env: dict[str, str] = field(default_factory=dict)
    """What it was started with and another of its kind was not."""

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.popen.kill()
        self.popen.wait()

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM, and wait for its end. Its exit code. One that goes on says where all of its threads are."""
        self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.send_signal(signal.SIGABRT)
            self.popen.wait(10)
            raise AssertionError(f"{self.kind} did not end:\n{self.log.read_text()}") from None

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None


@dataclass
class Fleet:
    """Processes that share a configuration, a database and a Redis."""

    folder: Path
    database_url: str
    redis_url: str
    config: dict[str, Any] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    started: int = 0

    def __post_init__(self) -> None:
        more = self.config.pop("webhook", {})
        whole = {
            **FAST,
            "adapters": [webhook(**more), {"kind": "local", "name": "local"}],
            "state_dir": str(self.folder / "state"),
            **self.config,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "heyfleet.yaml").write_text(yaml.safe_dump(whole))
        self.db = Database(self.database_url, name="test", pool_size=4)

    def configure(self, **more: Any) -> None:
        """Change heyfleet.yaml; what runs already may not see it."""
        path = self.folder / "heyfleet.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **more}))

    # --- processes

    @property
    def environment(self) -> dict[str, str]:
        """What every program of this fleet is started with; nothing else of this process's own."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": str(REPOSITORY),
            "HEYFLEET_CONFIG": str(self.folder / "heyfleet.yaml"),
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
        }

    def start(self, kind: str, **env: str) -> Process:
        """Start a process; `ready` waits for what it has to be able to do."""
        self.started += 1
        port = free_port() if kind == "web" else 0
        own = {"HEYFLEET_HTTP__PORT": str(port or 1), "HEYFLEET_RUNNER__ID": f"runner-{self.started}", **env}
        environment = {**self.environment, **own}
        log = self.folder / f"{kind}-{self.started}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                COMMANDS[kind],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that `close` finds what it started
            )
        process = Process(kind, popen, log, int(own["HEYFLEET_HTTP__PORT"]) if kind == "web" else 0, own)
        self.processes.append(process)
        return process

    def again(self, process: Process) -> Process:
        """Start what ended, on the same port and under the same id, as a supervisor would."""
        return self.start(process.kind, **process.env)

    def up(self, **counts: int) -> Fleet:
        """Start so many of each kind, and wait until the webs answer."""
        for kind, count in counts.items():
            for _ in range(count):
                self.start(kind)
        for process in self.of("web"):
            self.ready(process)
        return self

    def of(self, kind: str) -> list[Process]:
        return [process for process in self.processes if process.kind == kind and process.alive]

    def ready(self, web: Process, seconds: float = 30) -> None:
        wait_until(
            lambda: self.get(web, "/ready")[0] == 200, seconds, f"{web.log} is not ready:\n{web.log.read_text()}"
        )

    def close(self) -> None:
        for process in self.processes:
            if process.alive:
                # With its children, since those of gunicorn outlive it by a moment; the group is its own.
                os.killpg(process.popen.pid, signal.SIGKILL)
        for process in self.processes:
            process.popen.wait()
        self.db.close()

    # --- as a caller

    def get(self, web: Process, path: str) -> tuple[int, dict[str, Any]]:
        return self.request(web, "GET", path)

    def post(self, text: str, *, web: Process | None = None, thread: str | None = None, **body: Any) -> dict[str, Any]:
        """Post a message; the answer's body. Fails unless it was accepted."""
        path = f"/webhook/internal/threads/{thread}/messages" if thread else "/webhook/internal"
        status, answer = self.request(web or self.of("web")[0], "POST", path, {"user": "ada", "text": text, **body})
        assert status in (200, 202), (status, answer)
        return answer

    def request(
        self, web: Process, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """One request with the secret; (0, {}) where nobody answers."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{web.port}{path}",
            data=raw,
            method=method,
            headers={"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")
        except (OSError, ValueError):
            return 0, {}

    def run(self, accepted: dict[str, Any], wait: float = 0, web: Process | None = None) -> dict[str, Any]:
        """How a run stands."""
        path = f"/webhook/internal/threads/{accepted['threadId']}/runs/{accepted['runId']}?wait={wait}"
        return self.get(web or self.of("web")[0], path)[1]

    def finished(self, accepted: dict[str, Any], seconds: float = 30) -> dict[str, Any]:
        """The run's outcome, waiting for its end."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.run(accepted, wait=1))
            return found.get("status") not in (None, "running", "pending_approval")

        wait_until(ended, seconds, lambda: f"the run did not end: {found}\n{self.unfinished()}\n{self.logs()}")
        return found

    def asked(self, accepted: dict[str, Any], seconds: float = 30) -> list[dict[str, Any]]:
        """What the run asks people about, waiting until it does."""
        found: dict[str, Any] = {}

        def asks() -> bool:
            found.update(self.run(accepted, wait=1))
            return found.get("status") == "pending_approval"

        wait_until(asks, seconds, lambda: f"the run asks nothing: {found}\n{self.logs()}")
        approvals: list[dict[str, Any]] = found["approvals"]
        return approvals

    def decide(self, approval: str, decision: str, user: str = "grace", **more: Any) -> tuple[int, dict[str, Any]]:
        """Answer an approval through a web process."""
        body = {"user": user, "decision": decision, **more}
        return self.request(self.of("web")[0], "POST", f"/webhook/internal/approvals/{approval}", body)

    # --- as an operator

    def sql(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.db.rows(statement, params)]

    def unfinished(self) -> str:
        """The rows of what is open, for a failure's message."""
        return "\n".join(str(row) for statement in UNFINISHED for row in self.sql(statement))

    def logs(self, last: int = 40) -> str:
        """The end of each process's log, for a failure's message."""
        return "\n".join(
            f"--- {process.log.name}\n" + "\n".join(process.log.read_text(errors="replace").splitlines()[-last:])
            for process in self.processes
        )


def wait_until(happened: Callable[[], bool], seconds: float, message: str | Callable[[], str]) -> None:
    """Look again and again until it happened; fails with the message after `seconds`."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise AssertionError(message() if callable(message) else message)
        time.sleep(0.05)
