"""Commands as real processes: started, read, stopped in time and ended with all that came of them."""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.errors import Transient
from app.ports import Cancel
from app.runtimes.supervise import FIRST_FD as FIRST_FD  # descriptors that are passed on are numbered from here

SUPERVISOR = Path(__file__).with_name("supervise.py")
CHUNK = 65536
LOOK_SECONDS = 0.05
"""How often a cancellation is looked for."""
STOP_SECONDS = 8.0
"""How long the supervisor may take to end a command; longer than it tries itself."""
SLOW_READ_SECONDS = 0.005
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EXIT_TIMEOUT = 124
EXIT_CANCELLED = 130


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. `fds` are its descriptors from `FIRST_FD` on; `limits` are rlimits without `RLIMIT_`."""

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    limits: Mapping[str, int]
    max_processes: int
    fds: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `note` is for the reader of its output, where there is something to say."""

    exit_code: int
    ended: Literal["exited", "timeout", "cancelled"] = "exited"
    note: str = ""




class Processes:
    """Starts commands through one supervisor process, which is started at the first and again if it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def run(self, command: Command, feed: Callable[[bytes], bool], *, timeout: float, cancel: Cancel) -> Ended:
        """Run a command; `feed` gets its output and says whether to read slower. When this returns, no process of the
        command is alive. Raises Transient where it could not be started or watched."""
        control, theirs = socket.socketpair()
        reading, writing = os.pipe()
        with control, os.fdopen(reading, "rb", buffering=0):
            try:
                self._ask(command, [theirs.fileno(), writing, *command.fds])
            finally:
                theirs.close()
                os.close(writing)
            return Watch(control, reading, feed, cancel, time.monotonic() + timeout).ended()

    def close(self) -> None:
        """End the supervisor; commands that still run are ended by their keepers."""
        with self._lock:
            if self._channel:
                self._channel.close()
            if self._supervisor:
                self._supervisor.wait()
            self._channel = self._supervisor = None

    def _ask(self, command: Command, fds: list[int]) -> None:
        body = json.dumps(
            {
                "argv": list(command.argv),
                "cwd": command.cwd,
                "env": dict(command.env),
                "limits": dict(command.limits),
                "max_processes": command.max_processes,
            }
        ).encode()
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        with self._lock:
            for last_try in (False, True):
                channel = self._connected()
                try:
                    channel.sendmsg([struct.pack("!I", len(body))], passed)
                    channel.sendall(body)
                except (BrokenPipeError, ConnectionResetError) as error:
                    # It was killed since the last command: nothing of this one was started.
                    self._channel = None
                    if last_try:
                        raise Transient("commands can't be started here right now", detail=str(error)) from error
                else:
                    return

    def _connected(self) -> socket.socket:
        if self._channel is None or self._supervisor is None or self._supervisor.poll() is not None:
            if self._channel:
                self._channel.close()
            self._channel, theirs = socket.socketpair()
            # -I and -S: nothing of the runner's environment or packages; a new session: no terminal, no signals of it.
            arguments = [sys.executable, "-I", "-S", str(SUPERVISOR)]
            with theirs:
                self._supervisor = subprocess.Popen(  # noqa: S603 — our own file
                    arguments, stdin=theirs, stdout=subprocess.DEVNULL, env={}, start_new_session=True
                )
        return self._channel


class Watch:
    """One running command, from the runner's side."""

    def __init__(
        self, control: socket.socket, output: int, feed: Callable[[bytes], bool], cancel: Cancel, deadline: float
    ) -> None:
        self._control = control
        self._output = output
        self._feed = feed
        self._cancel = cancel
        self._deadline = deadline
        self._why: Literal["exited", "timeout", "cancelled"] = "exited"
        self._poller = select.poll()

    def ended(self) -> Ended:
        """Read until the keeper says that all is over."""
        os.set_blocking(self._output, False)
        self._poller.register(self._output, select.POLLIN)
        self._poller.register(self._control, select.POLLIN)
        while True:
            ready = {fd for fd, _ in self._poller.poll(LOOK_SECONDS * 1000)}
            if self._output in ready and not self._read():
                self._poller.unregister(self._output)
            if self._control.fileno() in ready:
                answer = self._control.recv(CHUNK)
                self._rest()
                return self._outcome(json.loads(answer) if answer else None)
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
        if self._why == "exited":
            if self._cancel.is_set():
                self._why = "cancelled"
            elif now >= self._deadline:
                self._why = "timeout"
            else:
                return
            self._control.shutdown(socket.SHUT_WR)
            self._deadline = now + STOP_SECONDS
        elif now >= self._deadline:
            raise Transient("a command could not be ended", detail="its keeper does not answer")

    def _outcome(self, answer: dict[str, Any] | None) -> Ended:
        if answer is None:
            raise Transient("the command's keeper was killed, and the command with it")
        note = f"[{answer['left']} processes could not be ended]" if answer["left"] else ""
        if answer["crowded"]:
            note = "[ended: too many processes at once]"
        status = answer["status"]
        code = 137 if status is None or answer["crowded"] else status if status >= 0 else 128 - status
        # It may have ended by itself while it was being stopped; what it was told counts.
        if self._why == "timeout":
            return Ended(EXIT_TIMEOUT, "timeout", note)
        if self._why == "cancelled":
            return Ended(EXIT_CANCELLED, "cancelled", note)
        return Ended(code, "exited", note)
