from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import Cancelled
from app.llm import loop as module
from app.llm.loop import LoopThread, Say, run

NEVER = threading.Event()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread(look=0.02)
    yield made
    made.stop()


async def forever(say: Say) -> None:
    say("begun")
    await asyncio.Event().wait()


def test_returns_the_result_and_raises_the_error(loop: LoopThread) -> None:
    async def result(say: Say) -> str:
        await asyncio.sleep(0)
        return "done"

    async def error(say: Say) -> str:
        raise ValueError("its own")

    assert loop.run(result, NEVER) == "done"
    with pytest.raises(ValueError, match="its own"):
        loop.run(error, NEVER)


def test_one_loop_serves_many_threads_side_by_side(loop: LoopThread) -> None:
    together = 200
    here: set[int] = set()
    everyone = asyncio.Event()

    async def meet(say: Say) -> int:
        here.add(id(asyncio.current_task()))
        if len(here) == together:
            everyone.set()
        await everyone.wait()
        return threading.get_ident()

    with ThreadPoolExecutor(together) as pool:
        asked = [pool.submit(loop.run, meet, NEVER) for _ in range(together)]
        threads = {future.result(timeout=30) for future in asked}
    assert len(threads) == 1


def test_what_is_said_is_heard_in_order_in_the_thread_that_waits(loop: LoopThread) -> None:
    heard: list[tuple[str, int]] = []

    async def talk(say: Say) -> None:
        for word in ("one", "two"):
            say(word)

    loop.run(talk, NEVER, lambda word: heard.append((word, threading.get_ident())))
    assert heard == [("one", threading.get_ident()), ("two", threading.get_ident())]


def test_cancel_ends_the_wait_and_the_coroutine(loop: LoopThread) -> None:
    cancel, stopped = threading.Event(), threading.Event()

    async def noticed(say: Say) -> None:
        try:
            await forever(say)
        finally:
            stopped.set()

    with pytest.raises(Cancelled):
        loop.run(noticed, cancel, lambda text: cancel.set())
    assert stopped.wait(5)


def test_a_coroutine_that_does_not_stop_holds_up_nobody(loop: LoopThread) -> None:
    cancel, released = threading.Event(), asyncio.Event()

    async def stubborn(say: Say) -> str:
        say("begun")
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    with pytest.raises(Cancelled):
        loop.run(stubborn, cancel, lambda text: cancel.set())

    async def release(say: Say) -> None:
        released.set()

    loop.run(release, NEVER)


def test_nothing_is_begun_once_cancelled(loop: LoopThread) -> None:
    cancel = threading.Event()
    cancel.set()
    begun: list[str] = []

    async def begin(say: Say) -> None:
        begun.append("begun")

    with pytest.raises(Cancelled):
        loop.run(begin, cancel)
    loop.run(lambda say: asyncio.sleep(0), NEVER)
    assert begun == []


def test_a_cancel_that_fails_is_told_to_its_own_asker(loop: LoopThread) -> None:
    class Fails:
        def __init__(self) -> None:
            self.asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            if self.asked > 1:
                raise RuntimeError("lost its lease table")
            return False

        def wait(self, timeout: float) -> bool:
            return False

    with pytest.raises(RuntimeError, match="lost its lease table"):
        loop.run(forever, Fails())
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        loop.run(forever, cancel, lambda text: cancel.set())


def test_a_listener_that_raises_stops_its_request(loop: LoopThread) -> None:
    stopped = threading.Event()

    async def noticed(say: Say) -> None:
        try:
            await forever(say)
        finally:
            stopped.set()

    def fail(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run(noticed, NEVER, fail)
    assert stopped.wait(5)


def test_the_threads_that_wait_do_not_poll(loop: LoopThread) -> None:
    looks = threading.Semaphore(0)
    lookers: set[int] = set()

    class Counted(threading.Event):
        def is_set(self) -> bool:
            lookers.add(threading.get_ident())
            looks.release()
            return super().is_set()

    cancel = Counted()
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(pytest.raises, Cancelled, loop.run, forever, cancel) for _ in range(20)]
        for _ in range(20 * 2):
            assert looks.acquire(timeout=10)
        lookers.clear()
        for _ in range(20 * 10):
            assert looks.acquire(timeout=10)
        assert len(lookers) == 1
        cancel.set()
        for future in asked:
            future.result(timeout=10)


def test_a_fork_gets_a_loop_of_its_own() -> None:
    async def pid(say: Say) -> int:
        return os.getpid()

    assert run(pid, NEVER) == os.getpid()
    assert module.of_process() is module.of_process()

    def child() -> None:
        os._exit(0 if run(pid, NEVER) == os.getpid() else 1)

    forked = multiprocessing.get_context("fork").Process(target=child)
    forked.start()
    forked.join(timeout=10)
    forked.kill()
    assert forked.exitcode == 0
