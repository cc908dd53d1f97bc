"""The processes below this one: looked up, killed and reaped until none is left. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator

LINUX = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36
GIVE_UP_SECONDS = 6.0
"""What is left after so long can't be ended, since it changed its user or hangs."""
KILL_SECONDS = 0.01
"""Between two looks for what is left, whatever else ends meanwhile."""
URGENT = -20


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


def end_tree(command: int, woken: int, *, reaped: bool = False) -> tuple[int, int | None]:
    """Kill and reap until no child is left: how many could not be ended, and the command's exit code if it came now.

    `reaped`: the command's own end was seen already, so that its number may be somebody else's by now.
    """
    found = None
    if not reaped or not LINUX:
        # The group at once, before anything is looked at: what forks faster than it is found can't outrun that.
        kill_group(command)
    give_up_at, kill_at = time.monotonic() + GIVE_UP_SECONDS, 0.0
    while (now := time.monotonic()) < give_up_at:
        if now >= kill_at:
            kill_all(below(os.getpid()))
            kill_at = time.monotonic() + KILL_SECONDS
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0, found
        if pid == command:
            found = os.waitstatus_to_exitcode(status)
        if pid == 0:
            select.select([woken], [], [], KILL_SECONDS)
            drain(woken)
    return len(descendants(os.getpid())), found


def come_first() -> int:
    """Run before all others, where that is allowed: thousands of processes would leave little time to end them in.

    Returns the priority that was usual until now.
    """
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, URGENT)
    return usual


def kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone already
        os.killpg(leader, signal.SIGKILL)


def kill_all(pids: Iterable[int]) -> None:
    """Kill each, and its process group with it: all of a group end together, those not in `pids` yet included.

    A command begins a session of its own, so that no group of its descendants has anybody else in it.
    """
    ours = os.getpgrp()
    for pid in pids:
        # Gone already, or it changed its user: that one is counted as left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            group = os.getpgid(pid)
            os.kill(pid, signal.SIGKILL)
            if group != ours:
                os.killpg(group, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents before their children. Known on Linux only."""
    return list(below(pid))


def more_than(most: int, pid: int) -> bool:
    """Whether more than `most` processes are below `pid`. Counts no further: it might never come to the end."""
    return len(list(itertools.islice(below(pid), most + 1))) > most


def below(pid: int) -> Iterator[int]:
    """As `descendants`, one by one: whoever kills each as it comes stops it before its children are looked up."""
    pending = [pid]
    while pending:
        for child in children(pending.pop()):
            yield child
            pending.append(child)


def children(pid: int) -> list[int]:
    found: list[int] = []
    # Any of them may end while they are looked at.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
    return found
