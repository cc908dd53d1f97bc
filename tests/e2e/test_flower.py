"""Flower: names that say what is done, and a password where others than this machine reach it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.error
import urllib.request

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import free_port, wait_until

AUTH = "ops:sesame-of-flower"


def asked(port: int, path: str, auth: str = "") -> tuple[int, str]:
    headers = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def test_it_asks_for_the_password_and_shows_what_tasks_do(make_fleet: MakeFleet) -> None:
    fleet, port = make_fleet(web=1, worker=1), free_port()
    with (fleet.folder / "flower.log").open("wb") as log:
        flower = subprocess.Popen(
            [sys.executable, "-m", "workers", "flower"],
            cwd=fleet.folder,
            env={**fleet.environment, "HEYFLEET_FLOWER__PORT": str(port), "HEYFLEET_FLOWER__BASIC_AUTH": AUTH},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: asked(port, "/workers")[0] == 401, 30, (fleet.folder / "flower.log").read_text)
        assert asked(port, "/workers", "ops:guessed")[0] == 401
        assert asked(port, "/workers", AUTH)[0] == 200
        with open(f"/proc/{flower.pid}/cmdline") as command:
            assert "sesame" not in command.read()

        def shown() -> bool:
            fleet.post("hello", sync=True)
            tasks = json.loads(asked(port, "/api/tasks", AUTH)[1] or "{}").values()
            return any(task["name"] == "heyfleet.thread" and "'" in str(task["args"]) for task in tasks)

        wait_until(shown, 40, lambda: asked(port, "/api/tasks", AUTH)[1])
    finally:
        flower.terminate()
        flower.wait(30)
