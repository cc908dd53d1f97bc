"""The supervisor: a small process beside the runner, whose keepers run commands and end all that came of them.

`app.runtimes.process` starts it and speaks to it over a socket (its stdin). With `keeper`, `tree` and `wire` it
imports the standard library only, so that it is small and quick to start, and forks a keeper for each socket that the
runner hands it. A keeper runs one command at a time and is used again. On Linux it is a subreaper
(https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html): whatever a command leaves behind, double
forks and new sessions included, becomes the keeper's child and is killed. A keeper also ends its command when the
other end of its socket closes, which happens when the runner dies, however it dies. Elsewhere only the command's
process group is killed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import select
import signal
import socket

from app.runtimes.keeper import keep
from app.runtimes.tree import LINUX, become_subreaper, below, children, drain, kill_all, wake_on_child
from app.runtimes.wire import receive

OOM_SCORE = "500"


def main(limits: str) -> None:
    """Fork a keeper for every socket that comes, until the runner is gone. `limits`: the rlimits as JSON."""
    channel = socket.socket(fileno=os.dup(0))
    os.close(0)
    os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)  # the lowest free number: stdin of every command
    os.chdir("/")
    os.umask(0o022)
    limit(json.loads(limits))
    become_subreaper()
    # Only the runner's end ends it: a signal to a whole group (Ctrl-C, a service's stop) must not cut commands short
    # while the runner drains.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    woken = wake_on_child()
    keepers: set[int] = set()
    while True:
        select.select([channel.fileno(), woken], [], [])
        drain(woken)
        reap_keepers(keepers)
        if not select.select([channel], [], [], 0)[0]:
            continue
        message = receive(channel)
        if message is None:
            return
        control = socket.socket(fileno=message[2][0])
        keeper = os.fork()
        if keeper == 0:
            channel.close()
            os.close(woken)
            keep(control)
        keepers.add(keeper)
        control.close()


def limit(limits: dict[str, int]) -> None:
    """Set rlimits, by their names without `RLIMIT_`, never above what is allowed already; all below inherit them."""
    for name, wanted in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))
    # The kernel is to end a command, and not the runner, when memory runs out.
    if LINUX:
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(OOM_SCORE)


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
                kill_all(itertools.chain([orphan], below(orphan)))
