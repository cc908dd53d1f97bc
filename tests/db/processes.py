"""Functions run in real processes, all at once: what a fleet does to one database.

They are forked from a server that has this module imported already, so that a process costs milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.synchronize import Barrier
from typing import Any

import tests.db.stations  # noqa: F401 (imported once, for all)

Work = Callable[..., Any]
SECONDS = 120
"""After that a process is taken for stuck. The machine may be busy."""


def context() -> ForkServerContext:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.db.processes"])
    return found


class Processes:
    """Processes that begin their work together. `work` gets the barrier that they all wait at, and its arguments."""

    def __init__(self, work: Work, each: Sequence[tuple[Any, ...]]) -> None:
        made = context()
        self.results: Any = made.Queue()
        self.barrier = made.Barrier(len(each), timeout=SECONDS)
        self.started: list[ForkServerProcess] = [
            made.Process(target=told, args=(self.results, n, work, self.barrier, *arguments), daemon=True)
            for n, arguments in enumerate(each)
        ]
        for process in self.started:
            process.start()

    def ended(self) -> list[Any]:
        """What each returned, in their order. Raises where one failed."""
        found: dict[int, Any] = {}
        for _ in self.started:
            number, result, problem = self.results.get(timeout=SECONDS)
            assert not problem, problem
            found[number] = result
        for process in self.started:
            process.join(SECONDS)
        return [found[number] for number in sorted(found)]

    def kill(self) -> None:
        """SIGKILL, and wait until they are gone."""
        for process in self.started:
            process.kill()
            process.join()


def together(work: Work, *each: tuple[Any, ...]) -> list[Any]:
    """Run `work` once for each tuple of arguments, at the same time; what each returned."""
    processes = Processes(work, each)
    try:
        return processes.ended()
    finally:
        processes.kill()


def told(results: Any, number: int, work: Work, barrier: Barrier, *arguments: Any) -> None:
    try:
        results.put((number, work(barrier, *arguments), ""))
    except BaseException:
        results.put((number, None, f"process {os.getpid()}:\n{traceback.format_exc()}"))
