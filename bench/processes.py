"""What processes take, as the kernel counts it: memory shared fairly between them (PSS), and CPU time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_EVERY = 0.4


def tree(root: int) -> list[int]:
    """The process and everything below it that lives."""
    parents: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (stat := fields(int(entry.name))):
            parents.setdefault(int(stat[1]), []).append(int(entry.name))
    found, ahead = [], [root]
    while ahead:
        pid = ahead.pop()
        found.append(pid)
        ahead += parents.get(pid, [])
    return found


def fields(pid: int) -> list[str] | None:
    """`/proc/PID/stat` from the state on, or None where the process is gone.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def pss(pids: Iterable[int]) -> int:
    """Bytes of memory, each shared page divided among those who share it.

    https://docs.kernel.org/filesystems/proc.html (smaps_rollup)
    """
    total = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time used so far by process trees, ended children included."""
    total = 0.0
    for root in roots:
        for pid in tree(root):
            stat = fields(pid)
            if stat:
                total += sum(int(ticks) for ticks in stat[11:15]) / TICKS
    return total


class Others:
    """How much of the machine others used meanwhile: what makes figures of two runs differ."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = busy_seconds()
        self._own = own_seconds()

    def cores(self) -> float:
        """Cores that were not ours and not idle, on average; asked once all our processes have ended."""
        theirs = busy_seconds() - self._busy - (own_seconds() - self._own)
        return max(0.0, theirs / (time.monotonic() - self._began))


def busy_seconds() -> float:
    """CPU time that the machine has spent on anything, or that its host has kept from it.

    https://man7.org/linux/man-pages/man5/proc_stat.5.html
    """
    user, nice, system, _idle, _iowait, *rest = map(int, (PROC / "stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / TICKS


def own_seconds() -> float:
    """CPU time of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass
class Peak:
    """The most memory that processes had together while it was watched, in bytes."""

    bytes: int = 0


@contextmanager
def watched(pids: Callable[[], Iterable[int]]) -> Iterator[Peak]:
    """Look at the processes' memory every so often until the block ends."""
    peak, ended = Peak(), threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLE_EVERY):
            peak.bytes = max(peak.bytes, pss(pids()))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
