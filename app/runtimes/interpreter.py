"""One bashkit interpreter that can be stopped: bash in this process, without processes, on files in memory."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bashkit import Bash, ExecResult, ExecutionProfile

from app.config.settings import Runtime as RuntimeSettings
from app.errors import Permanent, Transient
from app.ports import Cancel

if TYPE_CHECKING:
    from bashkit._bashkit import NetworkConfig  # in the stub only

T = TypeVar("T")
OnOutput = Callable[[str, str], None]
"""Gets a chunk of stdout, or of stderr."""

TOP = "/workspace"
MOST_COMMANDS = 10_000_000
MOST_VARIABLES = 8_000_000
"""Bytes of variables. Each of up to 16 nested subshells has a copy, so this is what bounds a fork bomb's memory."""
WORKER_THREADS, MOST_GIVEN_UP = 64, 32
LOOK_SECONDS = 0.05
STOP_SECONDS = 0.6
JOBS_SECONDS = 0.1


class Loop:
    """An event loop in a thread of its own: bashkit can be interrupted while it sleeps only where it is awaited.

    Some of bashkit's commands (jq) look at no cancellation, only at the interpreter's own timeout, and keep one of
    tokio's threads until then. Tokio has as many as there are cores: two such commands would stop every sandbox of a
    small runner. So it gets more (https://docs.rs/tokio/latest/tokio/runtime/struct.Builder.html#method.worker_threads),
    and those that are busy with what was given up are counted.
    """

    def __init__(self) -> None:
        os.environ.setdefault("TOKIO_WORKER_THREADS", str(WORKER_THREADS))  # read at bashkit's first command
        self._given_up: list[concurrent.futures.Future[Any]] = []
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="bashkit", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def give_up(self, probe: concurrent.futures.Future[Any]) -> None:
        """Remember an interpreter that did not stop; `probe` is done once it did."""
        self._given_up = [other for other in self._given_up if not other.done()] + [probe]

    def must_have_room(self) -> None:
        if sum(not probe.done() for probe in self._given_up) >= MOST_GIVEN_UP:
            raise Transient("too many commands here have not stopped yet; try again in a minute")


class Gate:
    """Passes output on until it is closed: what was given up may go on printing."""

    def __init__(self, on_output: OnOutput) -> None:
        self._on_output = on_output
        self._lock = threading.Lock()
        self._open = True

    def __call__(self, out: str, err: str) -> None:
        with self._lock:
            if self._open:
                self._on_output(out, err)

    def close(self) -> None:
        with self._lock:
            self._open = False


class Interpreter:
    """A shell with its files. One command at a time; whoever uses it holds the sandbox's lock."""

    def __init__(self, loop: Loop, settings: RuntimeSettings, snapshot: bytes | None) -> None:
        self._loop = loop
        self._settings = settings
        self._last = snapshot
        self._bash = self._made()

    @property
    def bash(self) -> Bash:
        return self._bash

    def run(
        self, command: str, on_output: OnOutput, *, timeout: float, cancel: Cancel
    ) -> tuple[ExecResult | None, Literal["exited", "timeout", "cancelled"]]:
        """Run a command; the result is None where it was stopped. It can be used again afterwards."""
        self._loop.must_have_room()
        output = Gate(on_output)
        running = self._loop.start(execute(self._bash, command, output))
        deadline = time.monotonic() + timeout
        while True:
            # Not running.result(timeout): its TimeoutError could be the command's own.
            done, _ = concurrent.futures.wait([running], LOOK_SECONDS)
            if done:
                return running.result(), "exited"
            if cancel.is_set() or time.monotonic() >= deadline:
                output.close()
                self._stop(running)
                return None, "cancelled" if cancel.is_set() else "timeout"

    def snapshot(self) -> bytes:
        self._last = self._bash.snapshot()
        return self._last

    def _stop(self, running: concurrent.futures.Future[ExecResult]) -> None:
        """Two ways at once: `cancel` ends it at its next command, cancelling the future where it sleeps.

        The next command waits for the stopped one, so once that answers only its background jobs may go on, and each
        later command waits for those. What does not answer is given up (it ends by itself at its next command) and
        made anew from its last snapshot; what has jobs, from its files of now.
        """
        stopped = self._bash
        stopped.cancel()
        running.cancel()
        asked = self._ask(stopped)
        if concurrent.futures.wait([asked], STOP_SECONDS).done:
            stopped.clear_cancel()
            self._last = stopped.snapshot()
            asked = self._ask(stopped)
            if concurrent.futures.wait([asked], JOBS_SECONDS).done:
                return
        self._loop.give_up(asked)
        self._bash = self._made()

    def _ask(self, bash: Bash) -> concurrent.futures.Future[ExecResult]:
        return self._loop.start(execute(bash, ":", lambda _out, _err: None))

    def _made(self) -> Bash:
        # The profile without session limits: those count over a sandbox's whole life, and into its snapshots.
        limits: dict[str, Any] = {
            "max_commands": MOST_COMMANDS,
            "max_loop_iterations": MOST_COMMANDS,
            "max_memory": min(self._settings.max_memory, MOST_VARIABLES),
            # Ours comes first; this one ends what was given up.
            "timeout_seconds": self._settings.timeout + 1,
            "profile": ExecutionProfile.Interactive,
            "env": {"HOME": TOP},
            "network": network(self._settings),
        }
        if self._last is None:
            bash = Bash(cwd=TOP, **limits)
            bash.mkdir(TOP, recursive=True)
            return bash
        try:
            return Bash.from_snapshot(self._last, **limits)
        except Exception as error:
            raise Permanent("the sandbox's stored state can't be read", detail=str(error)) from error


async def execute(bash: Bash, command: str, on_output: OnOutput) -> ExecResult:
    return await bash.execute(command, on_output)


def network(settings: RuntimeSettings) -> NetworkConfig | None:
    return {"allow_all": True, "block_private_ips": True} if settings.network else None
