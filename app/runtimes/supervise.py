"""The supervisor: a small process beside the runner that starts commands and ends all that came of them.

`app.runtimes.process` runs this file by its path and speaks to it over a socket (its stdin). It imports the standard
library only, so that it is small: each command costs two forks of it. For every command it forks a keeper. On Linux
the keeper is a subreaper (https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html): whatever a
command leaves behind, double forks and new sessions included, becomes the keeper's child and is killed. A keeper also
ends its command when the other end of its control socket closes, which happens when the runner dies, however it dies.
Elsewhere only the command's process group is killed.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, NoReturn

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MOST_FDS = 16
FIRST_FD = 10
"""The number of the first extra descriptor in the command's process."""
ABOVE = 64
"""Where descriptors are moved to, out of the way of the numbers that the command expects."""
WATCH_SECONDS = 0.1
GIVE_UP_SECONDS = 5.0
NICENESS = 0
OOM_SCORE = "500"


def main() -> None:
    """Start commands as asked until the runner is gone. Requests: 4 bytes of length with the descriptors, then JSON."""
    channel = socket.socket(fileno=os.dup(0))
    os.close(0)
    os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)  # the lowest free number: stdin of every command
    become_subreaper()
    # Only the runner's end ends it: a signal to a whole group (Ctrl-C, a service's stop) must not cut commands short
    # while the runner drains.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    woken = wake_on_child()
    keepers: set[int] = set()
    while True:
        select.select([channel, woken], [], [])
        drain(woken)
        reap_keepers(keepers)
        if not select.select([channel], [], [], 0)[0]:
            continue
        request = receive(channel)
        if request is None:
            return
        asked, fds = request
        keeper = os.fork()
        if keeper == 0:
            channel.close()
            os.close(woken)
            keep(asked, fds)
        keepers.add(keeper)
        for fd in fds:
            os.close(fd)


def become_subreaper() -> None:
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wake_on_child() -> int:
    """A descriptor that is readable once a child ended."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if LINUX else os.pipe()
    for fd in (reading, writing):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def drain(woken: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(woken, 512):
            pass


def reap_keepers(keepers: set[int]) -> None:
    """Forget keepers that ended. One that was killed has left its command to this process: end that, too."""
    orphaned = False
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            # Each orphan's own end looks again, for what it had started meanwhile.
            orphaned |= pid not in keepers or status != 0
            keepers.discard(pid)
    if orphaned:
        for orphan in children(os.getpid()):
            if orphan not in keepers:
                kill_all([orphan, *descendants(orphan)])


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next request and its descriptors; None where the runner is gone."""
    fds = array.array("i")
    header, ancillary, _flags, _address = channel.recvmsg(4, socket.CMSG_LEN(MOST_FDS * fds.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    body = read_exactly(channel, struct.unpack("!I", header)[0]) if len(header) == 4 else b""
    if not body:
        return None
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, ABOVE) for fd in fds]
    for fd in fds:
        os.close(fd)
    return json.loads(body), moved


def read_exactly(channel: socket.socket, count: int) -> bytes:
    body = bytearray()
    while len(body) < count:
        chunk = channel.recv(count - len(body))
        if not chunk:
            return b""
        body += chunk
    return bytes(body)


def keep(asked: dict[str, Any], fds: list[int]) -> NoReturn:
    """Run one command; at its end, kill what is left of it and tell the runner: `{status, crowded, left}`."""
    control, output, *extra = fds
    become_subreaper()
    woken = wake_on_child()
    command = os.fork()
    if command == 0:
        become(asked, output, extra)
    for fd in (output, *extra):
        os.close(fd)
    status, crowded = watch(command, control, woken, asked["max_processes"])
    left, found = end_tree(command, woken)
    answer = {"status": found if status is None else status, "crowded": crowded, "left": left}
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the runner is gone: nobody to tell
        os.write(control, json.dumps(answer).encode())
    os._exit(0)


def watch(command: int, control: int, woken: int, max_processes: int) -> tuple[int | None, bool]:
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
        if control in events:
            return None, False
        # A user's process limit counts everything of that user, and does not hold for root: so they are counted here.
        if LINUX and time.monotonic() - looked_at >= WATCH_SECONDS:
            if len(descendants(os.getpid())) > max_processes:
                return None, True
            looked_at = time.monotonic()


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
    """Every process below `pid`, parents before their children."""
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


def become(asked: dict[str, Any], output: int, extra: list[int]) -> NoReturn:
    """Turn this fork into the command. Whatever goes wrong is said on its output, as a shell would."""
    try:
        os.setsid()
        if LINUX:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for number, fd in enumerate(extra, FIRST_FD):
            os.dup2(fd, number)
        limit(asked["limits"])
        os.chdir(asked["cwd"])
        os.umask(0o022)
        os.execvpe(asked["argv"][0], asked["argv"], asked["env"])  # noqa: S606 — running commands is its purpose
    except OSError as error:
        os.write(2, f"{asked['argv'][0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def limit(limits: dict[str, int]) -> None:
    """Set rlimits, by their names without `RLIMIT_`; never above what is allowed already."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    # The runner's heartbeat comes before a command's work, and the kernel is to end the command when memory runs out.
    os.nice(NICENESS)
    if LINUX:
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(OOM_SCORE)


if __name__ == "__main__":
    main()
