"""A fake OpenAI-compatible server: chat completions, whole and streamed, that refuse what the real ones refuse.

    python -m tests.fakes.openai --port 9000 --first-token-ms 2000

It echoes the last user message, unless directives in that message say otherwise: `[[tools=1 command="ls -l"]]`,
`[[status=429 retry_after=1 times=1]]`, `[[hang=5]]`; all are in `script.Script`. `GET /_stats` tells what it got.
In a test, `with start() as fake:` runs one in a thread; `spawn()` runs one in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import urlopen

from tests.fakes.openai.script import Script
from tests.fakes.openai.service import Service

ROOT = Path(__file__).resolve().parents[3]


class FakeOpenAI:
    """A running server. `base_url` is what goes into `models.<alias>.base_url`."""

    def __init__(self, origin: str, stop: Callable[[], None]) -> None:
        self.origin = origin
        self.base_url = f"{origin}/v1"
        self._stop = stop

    def stats(self) -> dict[str, Any]:
        """What it saw so far; see `service.Seen`."""
        with urlopen(f"{self.origin}/_stats", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def close(self) -> None:
        self._stop()

    def __enter__(self) -> FakeOpenAI:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def start(*, port: int = 0, api_key: str | None = None, models: tuple[str, ...] = (), **defaults: Any) -> FakeOpenAI:
    """Run a server in a thread of this process. `defaults` are fields of `Script`; port 0 takes any that is free."""
    service = Service(Script(**defaults), api_key, frozenset(models))
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(listen(service, "127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever, name="fake-openai", daemon=True)
    thread.start()

    def stop() -> None:
        asyncio.run_coroutine_threadsafe(close(server), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()

    return FakeOpenAI(origin_of(server), stop)


def spawn(*options: str) -> FakeOpenAI:
    """Run a server in a process of its own, with the options of the command line; it ends with this process at last."""
    command = [sys.executable, "-m", "tests.fakes.openai", "--until-stdin-ends", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    origin = process.stdout.readline().strip().rpartition(" ")[2]

    def stop() -> None:
        process.terminate()
        # Closes the pipes too.
        process.communicate(timeout=10)

    if not origin:
        stop()
        raise RuntimeError(f"the fake server did not start: {' '.join(command)}")
    return FakeOpenAI(origin, stop)


async def listen(service: Service, host: str, port: int) -> asyncio.Server:
    # A burst of 2000 connections at once must not overflow the queue of those not yet accepted.
    return await asyncio.get_running_loop().create_server(service.connection, host, port, backlog=4096)


async def close(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def origin_of(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"http://{host}:{port}"
