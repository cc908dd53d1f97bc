"""What a process measures of its work, for Prometheus: counted by all processes of a host into files that any of them
can read, so that one scrape has them all.

https://prometheus.github.io/client_python/multiprocess/. Like logging this is one for the process: what counts
something need not be handed a counter. Until `begin` was called nothing is counted.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

log = structlog.get_logger()

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10, 30)
SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 1800)
"""Buckets, in seconds."""


@dataclass(frozen=True, slots=True)
class Meter:
    """One figure that processes count. Its name for Prometheus is `heyfleet_` and this one."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SLOW


METERS = (
    Meter("request_seconds", "histogram", "Time to answer a request, by route and status", ("route", "status"), FAST),
    Meter("messages_total", "counter", "Messages that came in, by whether they were new", ("adapter", "outcome")),
    Meter("turns_total", "counter", "Turns that ended, by how", ("adapter", "state")),
    Meter("turn_seconds", "histogram", "From a message's acceptance to the end of its turn", ("adapter",)),
    Meter("turn_start_seconds", "histogram", "From a message's acceptance to its turn's begin", ("adapter",), FAST),
    Meter("steps_total", "counter", "Model requests, by outcome (answered, retried, failed)", ("model", "outcome")),
    Meter("step_seconds", "histogram", "Time of a model request that was answered", ("model",)),
    Meter("tokens_total", "counter", "Tokens of answered model requests (input, output)", ("model", "kind")),
    Meter("cost_dollars_total", "counter", "What answered model requests cost, where the provider says", ("model",)),
    Meter("calls_total", "counter", "Tool calls that ended, by how", ("tool", "state")),
    Meter("call_seconds", "histogram", "Time that a tool call ran", ("tool",)),
    Meter("approvals_total", "counter", "Approvals that ended, by how", ("state",)),
    Meter("deliveries_total", "counter", "Tries to deliver, by what came of them", ("adapter", "outcome")),
    Meter("delivery_seconds", "histogram", "From a delivery's making to its arrival", ("adapter",)),
    Meter("wakes_total", "counter", "Wakes sent to Celery, by whether Redis took them", ("queue", "outcome")),
    Meter("leases_held", "gauge", "Lanes that processes of this host hold now", ("lane",)),
    Meter("leases_lost_total", "counter", "Lanes that another process took over from one of this host", ("lane",)),
    Meter("job_lateness_seconds", "histogram", "From a job's due time to its firing, by outcome", ("outcome",), SLOW),
)
"""All of them; docs/metrics.md is made of this list."""

FILE = re.compile(r"(counter|histogram|gauge_livesum)_(\d+)\.db")
KINDS = ("counter", "histogram", "gauge_livesum")
FILE_BYTES = 1 << 20
"""What the library makes them, which is room for some thousand figures."""
DAY = 86_400.0
MERGED = 0
"""In place of a pid: what dead processes have counted."""


class Meters:
    """This process's."""

    def __init__(self, folder: Path) -> None:
        # One by one: the parents that `mkdir` makes by itself are open to others.
        for each in (folder.parent.parent, folder.parent, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        # Read when the library is loaded, so that it must not have been before.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        with locked(folder):
            merge_dead(folder)
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram  # noqa: PLC0415

        kinds = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        collected = CollectorRegistry()
        self._meters: dict[str, Any] = {}
        for meter in METERS:
            more: dict[str, Any] = {"buckets": meter.buckets} if meter.kind == "histogram" else {}
            more |= {"multiprocess_mode": "livesum"} if meter.kind == "gauge" else {}
            self._meters[meter.name] = kinds[meter.kind](
                meter.name, meter.help, meter.labels, "heyfleet", "", "", collected, **more
            )

    def __getitem__(self, name: str) -> Any:
        return self._meters[name]

    def collect(self) -> list[Any]:
        """Of all processes of this host. Merged and read under one lock: what is being merged would count twice."""
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        with locked(self.folder):
            merge_dead(self.folder)
            reader = MultiProcessCollector(None, path=str(self.folder))  # type: ignore[no-untyped-call]
            return list(reader.collect())  # type: ignore[no-untyped-call]


_mine: list[Meters] = []


def begin(state_dir: Path) -> None:
    """Measure from here on. Called once in a process, before anything of it is measured; a fork calls `forked`.

    Where there is no room for that, nothing is measured: what a process is for matters more.
    """
    if _mine:
        return
    try:
        _mine.append(Meters(folder_of(state_dir)))
        forget_old(state_dir / "metrics")
        allocate(_mine[0].folder)
    except OSError as error:
        _mine.clear()
        log.warning("not_measured", error=str(error))


def forked() -> None:
    """The process is a fork of one that measures: it needs files of its own."""
    try:
        for meters in _mine:
            allocate(meters.folder)
    except OSError as error:
        _mine.clear()
        log.warning("not_measured", error=str(error))


def allocate(folder: Path) -> None:
    """Room for what this process counts, before it counts: on a disk that is full, writing to a file that is mapped
    into memory would end the process (SIGBUS). Raises OSError where there is none."""
    for kind in KINDS:
        descriptor = os.open(folder / f"{kind}_{os.getpid()}.db", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, FILE_BYTES)
        finally:
            os.close(descriptor)


def forget_old(folder: Path) -> None:
    """Files of containers, or of other spaces of process ids, that nobody has written to for a day."""
    for other in folder.iterdir():
        try:
            newest = max((path.stat().st_mtime for path in other.glob("*")), default=0.0)
        except FileNotFoundError:
            continue  # another process is at it
        if other.is_dir() and time.time() - newest > DAY:
            shutil.rmtree(other, ignore_errors=True)


def text(*others: Any) -> tuple[str, bytes]:
    """Media type and body for Prometheus: of all processes of this host, and of other collectors."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415

    collected = CollectorRegistry()
    if _mine:
        collected.register(_mine[0])
    for other in others:
        collected.register(other)
    return CONTENT_TYPE_LATEST, generate_latest(collected)


def count(name: str, amount: float = 1.0, **labels: str) -> None:
    if _mine:
        _mine[0][name].labels(**labels).inc(amount)


def observe(name: str, seconds: float, **labels: str) -> None:
    if _mine:
        _mine[0][name].labels(**labels).observe(max(0.0, seconds))


def hold(name: str, value: float, **labels: str) -> None:
    """The value of a gauge as it is now."""
    if _mine:
        _mine[0][name].labels(**labels).set(value)


def folder_of(state_dir: Path) -> Path:
    """One for each space of process ids: whether a process lives can only be told within it."""
    try:
        space = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        space = "one"
    return state_dir / "metrics" / f"{socket.gethostname()}-{space}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Of the processes of a host one at a time."""
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def merge_dead(folder: Path) -> None:
    """Add up what dead processes have counted, in one file of each kind: a fleet that is restarted each day must not
    leave files behind for each process that it ever had, and counters must not go back."""
    dead: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.db")):
        found = FILE.fullmatch(path.name)
        if found and int(found[2]) != MERGED and not lives(int(found[2])):
            dead.setdefault(found[1], []).append(path)
    for kind, paths in dead.items():
        if kind != "gauge_livesum":
            add_up(folder / f"{kind}_{MERGED}.db", paths)
        for path in paths:
            path.unlink(missing_ok=True)


def add_up(into: Path, paths: list[Path]) -> None:
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415

    sums: dict[str, float] = {}
    for path in [*([into] if into.exists() else []), *paths]:
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
            sums[key] = sums.get(key, 0.0) + value
    draft = into.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    written = MmapedDict(str(draft))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        written.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    written.close()  # type: ignore[no-untyped-call]
    draft.replace(into)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def documented(fleet: Mapping[str, tuple[str, tuple[str, ...]]]) -> str:
    """docs/metrics.md's tables: `fleet` are the figures that every `web` reads from Postgres and Redis."""
    head = "| metric | kind | labels | |\n|---|---|---|---|\n"
    mine = [
        f"| `heyfleet_{meter.name}` | {meter.kind} | {', '.join(meter.labels)} | {meter.help} |\n" for meter in METERS
    ]
    of_fleet = [f"| `{name}` | gauge | {', '.join(labels)} | {text} |\n" for name, (text, labels) in fleet.items()]
    return (
        f"## What processes count\n\n{head}{''.join(mine)}\n## What the fleet is like now\n\n{head}{''.join(of_fleet)}"
    )
