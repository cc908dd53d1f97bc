"""A keeper: runs one command at a time and ends all that came of it. Standard library only; see `supervise`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import Any, NoReturn

from app.runtimes.tree import become_subreaper, come_first, drain, end_tree, more_than, reaped, wake_on_child
from app.runtimes.wire import FIRST_FD, RUN, receive

WATCH_SECONDS = 0.1
NICENESS = 5
"""The runner's heartbeat, and the keeper that is to end a command, come before the command's own work."""
DEFAULTED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)


def keep(control: socket.socket) -> NoReturn:
    """Run commands as asked; each is answered with `{status, crowded, left, failed}`."""
    become_subreaper()
    niceness = come_first() + NICENESS
    woken = wake_on_child()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the runner is gone: nobody to tell
        while message := receive(control):
            what, asked, fds = message
            if what != RUN:
                continue  # a stop that came after the command's own end
            answer = run(asked, fds, control, woken, niceness)
            control.sendall(json.dumps(answer).encode())
            if answer["left"]:
                break  # what is left must not be taken for a part of the next command
    os._exit(0)


def run(asked: dict[str, Any], fds: list[int], control: socket.socket, woken: int, niceness: int) -> dict[str, Any]:
    """Run one command to its end, and kill what is left of it."""
    try:
        command = start(asked, fds, niceness)
    except OSError as error:
        return {"status": 127, "crowded": False, "left": 0, "failed": error.strerror}
    finally:
        for fd in fds:
            os.close(fd)
    status, crowded = watch(command, control, woken, asked["max_processes"])
    left, found = end_tree(command, woken, reaped=status is not None)
    return {"status": found if status is None else status, "crowded": crowded, "left": left, "failed": ""}


def start(asked: dict[str, Any], fds: list[int], niceness: int) -> int:
    """Spawned rather than forked, which copies no memory: it is the larger part of a short command's time."""
    output, *extra = fds
    actions: list[tuple[int, int, int]] = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(extra, FIRST_FD)]
    os.environ["PATH"] = asked["env"]["PATH"]  # this is where posix_spawnp looks
    os.chdir(asked["cwd"])
    try:
        command = os.posix_spawnp(
            asked["argv"][0], asked["argv"], asked["env"],
            file_actions=actions, setsid=True, setsigmask=[], setsigdef=DEFAULTED,
        )  # fmt: skip
    finally:
        os.chdir("/")
    with contextlib.suppress(ProcessLookupError):  # it was quick
        os.setpriority(os.PRIO_PGRP, command, niceness)
    return command


def watch(command: int, control: socket.socket, woken: int, max_processes: int) -> tuple[int | None, bool]:
    """Wait until the command ends by itself (its status), is too many processes, or is to be ended (neither)."""
    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(woken, select.POLLIN)
    looked_at = time.monotonic()
    while True:
        events = {fd for fd, _ in poller.poll(WATCH_SECONDS * 1000)}
        if woken in events:
            drain(woken)
            status = reaped(command)
            if status is not None:
                return status, False
        if control.fileno() in events:
            receive(control)  # a stop, or nothing: the runner is gone
            return None, False
        # A user's process limit counts everything of that user, and does not hold for root: so they are counted here.
        if time.monotonic() - looked_at >= WATCH_SECONDS:
            if more_than(max_processes, os.getpid()):
                return None, True
            looked_at = time.monotonic()
