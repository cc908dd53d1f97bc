"""The event loop of this process: model requests of all its threads run on it side by side, and the threads wait.

One loop for all, because the libraries' clients belong to the loop they first ran on: shared by loops of several
threads they fail or hang. A waiting thread sleeps on a queue and costs no CPU; one task on the loop looks at all
cancellations together.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from app.errors import Cancelled
from app.ports import Cancel

T = TypeVar("T")
Say = Callable[[str], None]
"""Hands a text to the thread that waits."""

CANCELLED = "The model request was cancelled."


def run(make: Callable[[Say], Coroutine[Any, Any, T]], cancel: Cancel, heard: Say | None = None) -> T:
    """Run `make(say)` on this process's loop and return its result; any thread but the loop's own may call this.

    `heard` is called in the waiting thread with what the coroutine says. Raises what the coroutine raises, and
    Cancelled within a second of `cancel` being set: the coroutine is cancelled, and nobody waits for how it takes it.
    """
    return of_process().run(make, cancel, heard)


class LoopThread:
    """An event loop in a thread of its own, started at once; it ends with the process."""

    def __init__(self, *, look: float = 0.25) -> None:
        self._look = look
        """Seconds between two looks at the cancellations."""
        self._looking = False
        self._loop = asyncio.new_event_loop()
        self._waited_for: set[Request[Any]] = set()
        # The loop itself holds its tasks weakly: https://docs.python.org/3/library/asyncio-task.html#creating-tasks
        self._tasks: set[asyncio.Task[Any]] = set()
        threading.Thread(target=self._loop.run_forever, name="model-loop", daemon=True).start()

    def run(self, make: Callable[[Say], Coroutine[Any, Any, T]], cancel: Cancel, heard: Say | None = None) -> T:
        """See `run` of this module."""
        request = Request(make, cancel)
        if not request.given_up():
            self._loop.call_soon_threadsafe(self._begin, request)
        try:
            return request.wait(heard)
        finally:
            # Where the wait itself was interrupted: Ctrl-C, or `heard` raised.
            if not request.over:
                self._loop.call_soon_threadsafe(self._stop, request)

    def stop(self) -> None:
        """End the loop; for tests, since a process has one until it ends."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _begin(self, request: Request[Any]) -> None:
        request.task = self._loop.create_task(request.make(request.say))
        request.task.add_done_callback(lambda task: self._ended(request, task))
        self._tasks.add(request.task)
        self._waited_for.add(request)
        if not self._looking:
            self._looking = True
            self._loop.call_later(self._look, self._look_at_cancels)

    def _look_at_cancels(self) -> None:
        for request in [request for request in self._waited_for if request.given_up()]:
            self._stop(request)
        self._looking = bool(self._waited_for)
        if self._looking:
            self._loop.call_later(self._look, self._look_at_cancels)

    def _stop(self, request: Request[Any]) -> None:
        self._waited_for.discard(request)
        if request.task is not None:
            request.task.cancel()

    def _ended(self, request: Request[Any], task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._waited_for.discard(request)
        if task.cancelled():
            request.end(error=Cancelled(CANCELLED))
        elif error := task.exception():
            request.end(error=error)
        else:
            request.end(result=task.result())


class Request(Generic[T]):
    """One coroutine, and the thread that waits for it."""

    def __init__(self, make: Callable[[Say], Coroutine[Any, Any, T]], cancel: Cancel) -> None:
        self.make = make
        self.task: asyncio.Task[T] | None = None
        self.over = False
        self._cancel = cancel
        self._news: SimpleQueue[str | None] = SimpleQueue()
        self._result: Any = None
        self._error: BaseException | None = None

    def given_up(self) -> bool:
        """Whether it is cancelled by now; ends the wait if so."""
        try:
            if self._cancel.is_set():
                self.end(error=Cancelled(CANCELLED))
        except Exception as error:  # noqa: BLE001 (told to the one who asked; the loop's other requests go on)
            self.end(error=error)
        return self.over

    def say(self, text: str) -> None:
        self._news.put(text)

    def end(self, *, result: T | None = None, error: BaseException | None = None) -> None:
        """The first end counts: what a cancelled coroutine still returns or raises is nobody's."""
        if not self.over:
            self._result, self._error, self.over = result, error, True
            self._news.put(None)

    def wait(self, heard: Say | None) -> T:
        while (text := self._news.get()) is not None:
            if heard is not None:
                heard(text)
        if self._error is None:
            result: T = self._result
            return result
        try:
            raise self._error
        finally:
            # Else error, traceback and frame would hold each other until the garbage collector comes.
            self._error = None


_lock = threading.Lock()
_of_process: dict[int, LoopThread] = {}
"""By process id: a fork has no threads but the one that forked, so it gets a loop of its own."""


def of_process() -> LoopThread:
    """This process's loop, started at first use."""
    pid = os.getpid()
    with _lock:
        if pid not in _of_process:
            _of_process.clear()
            _of_process[pid] = LoopThread()
        return _of_process[pid]
