"""A server's process: in a session of its own, so that a terminal's Ctrl-C passes it by, and gone when we are."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.errors import Permanent
from app.services.account import Account
from app.services.private import open_log

POLL_SECONDS = 0.01
PR_SET_PDEATHSIG = 1
# Below what Linux and macOS give to outgoing connections, one of which could hold our port when we come back.
PORTS = range(15_000, 32_000)


class ServerProcess:
    """A running server: our child, or one that an earlier heyfleet left behind."""

    def __init__(self, pid: int, mark: str, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._mark = mark
        self._child = child

    def alive(self) -> bool:
        """Whether it still runs; reaps it where it is our child."""
        if self._child:
            return self._child.poll() is None
        return is_running(self.pid, self._mark)

    def succeeded(self) -> bool:
        """Whether it ended, and well."""
        return not self.alive() and self._child is not None and self._child.returncode == 0

    def ended(self) -> str:
        """How it ended, for the log."""
        code = self._child.returncode if self._child else None
        if code is None:
            return "gone"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        """Send each signal in turn and wait the seconds beside it, until it is gone; SIGKILL comes last."""
        for number, seconds in (*steps, (signal.SIGKILL, 5.0)):
            if not self.alive():
                return
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                continue  # it went on its own; the next look at it reaps it
            wait_until(lambda: not self.alive(), seconds)


def spawn(
    argv: Sequence[str], *, account: Account | None, log: Path, death_signal: signal.Signals, mark: str
) -> ServerProcess:
    """Start a program that gets `death_signal` when this thread ends (Linux; elsewhere it stays and is adopted later).

    Its output is appended to `log`. `mark` is a part of its command line by which it is known again.
    """
    output = open_log(log)
    try:
        child = subprocess.Popen(  # noqa: S603 (programs and paths of our own)
            list(argv),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            cwd="/",
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # Runs after the change of user, which would take the death signal back; it only makes two system calls.
            preexec_fn=dies_with_parent(death_signal),  # noqa: PLW1509
        )
    except OSError as error:
        raise Permanent(f"can't run {argv[0]}: {error.strerror}") from None
    finally:
        os.close(output)
    return ServerProcess(child.pid, mark, child)


def dies_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child does to be told of our end. https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def in_child() -> None:
        if prctl(PR_SET_PDEATHSIG, int(death_signal)) != 0 or os.getppid() != parent:
            os._exit(1)  # we are gone already, and no signal will come

    return in_child


def clean_environment() -> dict[str, str]:
    """PGPORT, PGDATA and the like are about somebody else's server."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def is_running(pid: int, mark: str) -> bool:
    """Whether `pid` is a process with `mark` in its command line; a number may have gone to another program."""
    return mark in command_line(pid)


def command_line(pid: int) -> str:
    """The command line of a process; empty where there is none, or only a zombie."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    shown = subprocess.run(["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603
    return shown.stdout


def exists(pid: int) -> bool:
    """Whether there is any process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def wait_until(happened: Callable[[], bool], seconds: float) -> bool:
    """Look again and again for up to `seconds`; whether it happened."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() >= until:
            return False
        time.sleep(POLL_SECONDS)  # whose end it is is not always our child, so there is nothing to wait on
    return True


def is_free(port: int) -> bool:
    """Whether a server could listen on the port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A random port on which nobody listens. Random, so that two that start at once rarely choose the same."""
    while not is_free(port := secrets.choice(PORTS)):
        pass
    return port


def last_lines(path: Path, count: int = 5) -> str:
    """The end of a log, for an error's detail."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4000))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-count:])
