"""`heyfleet services` as a process of its own, with a banner and a migration that tests can see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import redis

from app.services.process import command_line, exists

REPOSITORY = Path(__file__).parents[2]

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
        before = os.environ.get("PYTHONPATH")
        search = [*([packages] if packages else []), REPOSITORY, *([before] if before else [])]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, json.dumps(given)],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, search))},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.end()

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
