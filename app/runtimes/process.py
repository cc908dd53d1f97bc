"""Commands as real processes: started, read, stopped in time and ended with all that came of them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.config.settings import Runtime as RuntimeSettings
from app.errors import Transient
from app.ports import Cancel
from app.runtimes.wire import RUN, STOP, send

PACKAGES = Path(__file__).parents[2]
SUPERVISE = "import sys; sys.path.append(sys.argv[1]); from app.runtimes.supervise import main; main(sys.argv[2])"
CHUNK = 65536
LOOK_SECONDS = 0.05
"""How often a cancellation is looked for."""
STOP_SECONDS = 8.0
"""How long a keeper may take to end a command; longer than it tries itself."""
SLOW_READ_SECONDS = 0.005
KEPT = 16
"""Idle keepers at most."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EXIT_TIMEOUT, EXIT_CANCELLED, EXIT_KILLED = 124, 130, 137


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. `fds` are its descriptors from `supervise.FIRST_FD` on; `env` has a PATH."""

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    max_processes: int
    fds: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `note` is for the reader of its output, where there is something to say."""

    exit_code: int
    ended: Literal["exited", "timeout", "cancelled"] = "exited"
    note: str = ""


Feed = Callable[[bytes], bool]
"""Gets a command's output; says whether to read slower."""


def rlimits(settings: RuntimeSettings) -> dict[str, int]:
    """DATA, not AS: programs like node reserve far more address space than they use."""
    return {"CORE": 0, "DATA": settings.max_memory, "FSIZE": settings.max_file_bytes}


class Processes:
    """Runs commands through one supervisor process, which is started at the first and again if it died.

    `limits` are rlimits by their names without `RLIMIT_`.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = json.dumps(dict(limits))
        self._lock = threading.Lock()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._idle: list[socket.socket] = []

    def run(self, command: Command, feed: Feed, *, timeout: float, cancel: Cancel) -> Ended:
        """Run a command. When this returns, no process of it is alive. Raises Transient where it could not be started
        or watched."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0):
            try:
                keeper = self._begun(command, [writing, *command.fds])
            finally:
                os.close(writing)
            watch = Watch(keeper, reading, feed, cancel, time.monotonic() + timeout)
            try:
                return watch.ended()
            finally:
                self._put_back(keeper, reusable=watch.reusable)

    def close(self) -> None:
        """End the supervisor and the idle keepers; commands that still run go on."""
        with self._lock:
            for keeper in self._idle:
                keeper.close()
            self._idle.clear()
            if self._channel:
                self._channel.close()
            if self._supervisor:
                self._supervisor.wait()
            self._channel = self._supervisor = None

    def _begun(self, command: Command, fds: list[int]) -> socket.socket:
        """The keeper that runs the command now."""
        asked = {
            "argv": list(command.argv),
            "cwd": command.cwd,
            "env": dict(command.env),
            "max_processes": command.max_processes,
        }
        while True:
            with self._lock:
                fresh = not self._idle
                keeper = self._keeper() if fresh else self._idle.pop()
            try:
                send(keeper, RUN, asked, fds)
            except OSError as error:
                keeper.close()
                if fresh:
                    raise Transient("commands can't be started here right now", detail=str(error)) from error
                # An idle keeper was killed since its last command: nothing of this one was started.
            else:
                return keeper

    def _put_back(self, keeper: socket.socket, *, reusable: bool) -> None:
        with self._lock:
            if reusable and len(self._idle) < KEPT:
                self._idle.append(keeper)
                return
        keeper.close()  # which ends its command, if that is not over

    def _keeper(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                send(self._connected(), RUN, {}, [theirs.fileno()])
            except OSError:
                # The supervisor was killed: the next one does it.
                self._channel = None
                send(self._connected(), RUN, {}, [theirs.fileno()])
        return ours

    def _connected(self) -> socket.socket:
        if self._channel is None or self._supervisor is None or self._supervisor.poll() is not None:
            if self._channel:
                self._channel.close()
            self._channel, theirs = socket.socketpair()
            # -I and -S: nothing of the runner's environment or packages; a new session: no terminal, no signals of it.
            arguments = [sys.executable, "-I", "-S", "-c", SUPERVISE, str(PACKAGES), self._limits]
            with theirs:
                self._supervisor = subprocess.Popen(  # noqa: S603 — our own module
                    arguments, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env={}, start_new_session=True
                )
        return self._channel


class Watch:
    """One running command, from the runner's side."""

    def __init__(self, keeper: socket.socket, output: int, feed: Feed, cancel: Cancel, deadline: float) -> None:
        self._keeper = keeper
        self._output = output
        self._feed = feed
        self._cancel = cancel
        self._deadline = deadline
        self._why: Literal["exited", "timeout", "cancelled"] = "exited"
        self.reusable = False
        """The keeper is free for another command."""

    def ended(self) -> Ended:
        """Read until the keeper says that all is over."""
        os.set_blocking(self._output, False)
        poller = select.poll()
        poller.register(self._output, select.POLLIN)
        poller.register(self._keeper, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll(LOOK_SECONDS * 1000)}
            if self._output in ready and not self._read():
                poller.unregister(self._output)
            if self._keeper.fileno() in ready:
                answer = self._keeper.recv(CHUNK)
                self._rest()
                if not answer:
                    raise Transient("the command ended its own keeper, and was ended with it")
                return self._outcome(json.loads(answer))
            self._stop_in_time()

    def _read(self) -> bool:
        """Take a chunk; False at the end of the output."""
        try:
            chunk = os.read(self._output, CHUNK)
        except BlockingIOError:
            return True
        if chunk and self._feed(chunk):
            # A flood that nobody will see must not cost a core: the pipe is left full between reads.
            self._cancel.wait(SLOW_READ_SECONDS)
        return bool(chunk)

    def _rest(self) -> None:
        """What is still in the pipe. It ends where it is empty: a writer can only be someone else's process."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._output, CHUNK):
                self._feed(chunk)

    def _stop_in_time(self) -> None:
        now = time.monotonic()
        if self._why != "exited":
            if now >= self._deadline:
                raise Transient("a command could not be ended", detail="its keeper does not answer")
            return
        if self._cancel.is_set():
            self._why = "cancelled"
        elif now >= self._deadline:
            self._why = "timeout"
        else:
            return
        self._deadline = now + STOP_SECONDS
        with contextlib.suppress(OSError):  # the keeper is gone: the next look sees it
            send(self._keeper, STOP)

    def _outcome(self, answer: Mapping[str, Any]) -> Ended:
        self.reusable = not answer["left"]
        status, note = answer["status"], ""
        if answer["failed"]:
            note = f"[could not be started: {answer['failed']}]"
        elif answer["left"]:
            note = f"[{answer['left']} processes could not be ended]"
        elif answer["crowded"]:
            note = "[ended: too many processes at once]"
        # It may have ended by itself while it was being stopped; what it was told counts.
        if self._why == "timeout":
            return Ended(EXIT_TIMEOUT, "timeout", note)
        if self._why == "cancelled":
            return Ended(EXIT_CANCELLED, "cancelled", note)
        if status is None or answer["crowded"]:
            return Ended(EXIT_KILLED, "exited", note)
        return Ended(status if status >= 0 else 128 - status, "exited", note)
