"""The processes below this one: looked up, killed and reaped until none is left. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

LINUX = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36
GIVE_UP_SECONDS = 5.0


def become_subreaper() -> None:
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wake_on_child() -> int:
    """A descriptor that is readable once a child ended."""
    reading, writing = os.pipe()
    for fd in (reading, writing):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def drain(woken: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(woken, 512):
            pass


def reaped(command: int) -> int | None:
    """Reap whatever ended; the command's exit code if it was among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == command:
                found = os.waitstatus_to_exitcode(status)
    return found


def end_tree(command: int, woken: int) -> tuple[int, int | None]:
    """Kill and reap until no child is left: how many could not be ended, and the command's exit code if it came now."""
    found = None
    if not LINUX:
        kill_group(command)
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < give_up_at:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0, found
        if pid == command:
            found = os.waitstatus_to_exitcode(status)
        if pid == 0:
            kill_all(descendants(os.getpid()))
            select.select([woken], [], [], 0.01)
            drain(woken)
    return len(descendants(os.getpid())), found


def kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone already
        os.killpg(leader, signal.SIGKILL)


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        # Gone already, or it changed its user: that one is counted as left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents before their children. Known on Linux only."""
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children(pending.pop())
        found += below
        pending += below
    return found


def children(pid: int) -> list[int]:
    found: list[int] = []
    # Any of them may end while they are looked at.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
    return found
