"""The yardstick of Celery: empty tasks per second, with heyfleet's app, options, threads and processes.

    python -m bench.empty_tasks work THREADS FILE      a worker; each task adds one byte to the file
    python -m bench.empty_tasks publish COUNT          sends so many, once it reads a line

The address of Redis is in REDIS_URL.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from app.queue import make_app
from workers.celery_process import run_celery

TASK = "heyfleet.bench.empty"
QUEUE = "bench"
WARM_UP = 300
LANE = "00000000-0000-7000-8000-000000000000"
"""An argument like that of a wake."""


def measure(redis_url: str, folder: Path, *, processes: int, threads: int, count: int) -> float:
    """Empty tasks per second, from the first publish to the end of the last task."""
    done = folder / "empty-tasks"
    done.write_bytes(b"")
    workers = [program(redis_url, "work", str(threads), str(done)) for _ in range(processes)]
    try:
        published(redis_url, WARM_UP)
        until(done, WARM_UP)
        seconds = published(redis_url, count)
        return count / (until(done, WARM_UP + count) - seconds)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def program(redis_url: str, *arguments: str, **pipes: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.empty_tasks", *arguments]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **pipes}
    return subprocess.Popen(command, env={**os.environ, "REDIS_URL": redis_url}, text=True, **quiet)


def published(redis_url: str, count: int) -> float:
    """Send the tasks from a process of its own; when it began, by `time.monotonic()`."""
    publisher = program(redis_url, "publish", str(count), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert publisher.stdin is not None
    assert publisher.stdout is not None
    with publisher:
        publisher.stdout.readline()
        began = time.monotonic()
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
        publisher.stdout.readline()
    return began


def until(done: Path, count: int) -> float:
    """Wait until so many tasks have ended; when that was."""
    deadline = time.monotonic() + 120
    while done.stat().st_size < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done.stat().st_size} of {count} empty tasks ended in two minutes")
        time.sleep(0.005)  # the workers only append to the file; a shorter pause would take their CPU
    return time.monotonic()


def work(threads: int, done: str) -> None:
    app = make_app(os.environ["REDIS_URL"])
    descriptor = os.open(done, os.O_WRONLY | os.O_APPEND)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def empty(lane: str) -> None:  # noqa: ARG001 (a wake has one)
        os.write(descriptor, b".")

    run_celery(app, name=f"bench-{os.getpid()}", queues=[QUEUE], threads=threads)


def publish(count: int) -> None:
    app = make_app(os.environ["REDIS_URL"])
    app.send_task(TASK, args=(LANE,), queue=f"{QUEUE}.unused", expires=30, ignore_result=True)  # connects
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(count):
        app.send_task(TASK, args=(LANE,), queue=QUEUE, expires=300, ignore_result=True, retry=False)
    print("sent", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["work", threads, done]:
            work(int(threads), done)
        case ["publish", count]:
            publish(int(count))
        case _:
            sys.exit("usage: python -m bench.empty_tasks work THREADS FILE | publish COUNT")
