"""Commands in Linux namespaces of their own, by bubblewrap (https://github.com/containers/bubblewrap)."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.config.settings import Runtime as RuntimeSettings
from app.errors import HeyfleetError
from app.ports import Cancel, Sandbox
from app.runtimes import seccomp
from app.runtimes.files import Folder
from app.runtimes.folder import FolderSandbox
from app.runtimes.process import PATH, Command, Ended, Feed, Processes, rlimits
from app.runtimes.texts import shown
from app.runtimes.wire import FIRST_FD
from app.runtimes.workspace import make_folder

TOP = "/workspace"
TEMPORARY = ".tmp"
USER = 1000
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
CONFIGURATION = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/pki/ca-trust",
    "/etc/pki/tls",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
"""What programs need from /etc to start; nothing there says anything about this machine or its users."""
NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/gai.conf")
PASSWD = f"agent:x:{USER}:{USER}:agent:{TOP}:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n".encode()
GROUP = f"agent:x:{USER}:\nnogroup:x:65534:\n".encode()
OWN_PROCESSES = 2
"""bwrap itself, and the first process of the namespace."""
TRIAL_SECONDS = 10.0

# Inside its own user namespace the process limit counts the sandbox's processes only; set outside, it would count
# everything of the runner's user. A second bash, because the command's own text must stay what it is in messages.
LIMITED = 'ulimit -u "$0" && exec "$@"'


class BubblewrapRuntime:
    """See `app.ports.Runtime`."""

    name = "bubblewrap"
    portable = False

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._processes = Processes(rlimits(settings))

    def available(self) -> str | None:
        """Tries it for real: whether namespaces are permitted is known by nothing else."""
        if sys.platform != "linux":
            return "bubblewrap runs on Linux only; use runtime virtual"
        if shutil.which("bwrap", path=PATH) is None:
            return "bwrap is not installed; install the package bubblewrap, or use runtime virtual"
        if seccomp.program() is None:
            return f"there is no system call filter for {os.uname().machine}; use runtime virtual"
        output = bytearray()

        def feed(chunk: bytes) -> bool:
            output.extend(chunk)
            return False

        with tempfile.TemporaryDirectory(prefix="heyfleet-") as folder:
            workspace, temporary = make_folder(Path(folder) / "w"), make_folder(Path(folder) / "t")
            try:
                never = threading.Event()
                ended = self._launch(workspace, temporary, ["true"], feed, timeout=TRIAL_SECONDS, cancel=never)
            except HeyfleetError as error:
                return error.message
        return None if ended.exit_code == 0 else cure(shown(bytes(output)).strip())

    def open(self, key: str, snapshot: bytes | None) -> Sandbox:  # noqa: ARG002 — the folder is its state
        top = make_folder(self._settings.workspace)
        root = make_folder(top / key)
        # On disk, so that it counts against no memory and one command finds what another left there.
        temporary = make_folder(top / TEMPORARY / key)

        def launch(argv: Sequence[str], feed: Feed, *, timeout: float, cancel: Cancel) -> Ended:
            return self._launch(root, temporary, argv, feed, timeout=timeout, cancel=cancel)

        return FolderSandbox(Folder(root, TOP, self._settings.max_file_bytes), launch, self._settings)

    def close(self) -> None:
        """End the supervisor; the next command starts another."""
        self._processes.close()

    def _launch(
        self,
        root: Path,
        temporary: Path,
        argv: Sequence[str],
        feed: Feed,
        *,
        timeout: float,
        cancel: Cancel,
    ) -> Ended:
        limits = self._settings
        inner = ["bash", "-c", LIMITED, str(limits.max_processes), *argv]
        view = b"".join(word.encode() + b"\0" for word in arguments(root, temporary, network=limits.network))
        with readable(view, seccomp.program() or b"", PASSWD, GROUP) as fds:
            command = Command(
                # Not as arguments: those can be read in the sandbox's /proc, and they name folders of this machine.
                argv=["bwrap", "--args", str(FIRST_FD), "--", *inner],
                cwd="/",
                env={"PATH": PATH, "HOME": TOP, "PWD": TOP, "LANG": "C.UTF-8", "TERM": "dumb", "USER": "agent"},
                max_processes=limits.max_processes + OWN_PROCESSES,
                fds=fds,
            )
            return self._processes.run(command, feed, timeout=timeout, cancel=cancel)


def arguments(root: Path, temporary: Path, *, network: bool) -> list[str]:
    """bwrap's arguments; after FIRST_FD come the descriptors of the system call filter, /etc/passwd and /etc/group."""
    argv = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += [] if network else ["--unshare-net"]
    argv += ["--uid", str(USER), "--gid", str(USER), "--hostname", "sandbox", "--cap-drop", "ALL"]
    # The new session is against input pushed into a terminal (CVE-2017-5226).
    argv += ["--die-with-parent", "--new-session", "--seccomp", str(FIRST_FD + 1)]
    argv += ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            argv += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            argv += ["--ro-bind", str(path), str(path)]
    for name in (*CONFIGURATION, *(NETWORK if network else ())):
        argv += ["--ro-bind-try", name, name]
    argv += ["--perms", "0644", "--file", str(FIRST_FD + 2), "/etc/passwd"]
    argv += ["--perms", "0644", "--file", str(FIRST_FD + 3), "/etc/group"]
    argv += ["--proc", "/proc", "--dev", "/dev"]
    for place in ("/tmp", "/dev/shm"):  # noqa: S108 — the sandbox's own
        argv += ["--bind", str(temporary), place]
    argv += ["--bind", str(root), TOP, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", TOP]
    return argv


@contextmanager
def readable(*contents: bytes) -> Iterator[list[int]]:
    """Descriptors from which each of the contents can be read once; they must fit a pipe (64 KiB)."""
    with ExitStack() as stack:
        fds: list[int] = []
        for content in contents:
            reading, writing = os.pipe()
            stack.callback(os.close, reading)
            os.write(writing, content)
            os.close(writing)
            fds.append(reading)
        yield fds


def cure(said: str) -> str:
    """What to do about bwrap's complaint."""
    if "namespace" in said or "uid map" in said or "loopback" in said:
        return (
            f"namespaces are not permitted here ({said}). On a host: sysctl kernel.unprivileged_userns_clone=1, and on "
            "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for bwrap. In a container: "
            "allow user namespaces in its seccomp and AppArmor profiles. Or use runtime virtual"
        )
    if "proc" in said:
        return (
            f"/proc can't be mounted here ({said}). In a container: unmask its /proc (Docker: "
            "--security-opt systempaths=unconfined). Or use runtime virtual"
        )
    return f"bwrap does not work here ({said}); use runtime virtual"
