"""Paths whose loss is the loss of a machine or of everything someone has."""

from __future__ import annotations

import posixpath
import re

from app.policy.tables import named
from app.policy.words import ANY, ONE

ROOTS = frozenset(
    named(
        "/ /Applications /Library /System /Users /bin /boot /dev /etc /home /lib /lib32 /lib64 /opt /private /proc",
        "/root /run /sbin /srv /sys /usr /usr/bin /usr/lib /usr/local /usr/sbin /usr/share /var /var/lib",
    )
)
SYSTEM = ("/bin/", "/boot/", "/etc/", "/lib/", "/sbin/", "/sys/", "/usr/bin/", "/usr/lib/", "/usr/sbin/")
SOMEONES_HOME = re.compile(r"~[\w.-]*|/(home|Users)/[^/]+")
ONLY_PATTERN = re.compile(r"[.*?]*[*?][.*?]*|\[.*\]\*?|\.")
HARMLESS_DEVICES = re.compile(
    r"/dev/(null|zero|full|tty|stdin|stdout|stderr|u?random|ptmx|fd/.*|pts/.*|shm/.*|tcp/.*|udp/.*|log)"
)


def is_root(path: str, *, folder: str = "") -> bool:
    """Whether the path is the root, a top folder of the system, someone's home, or everything in one of them.

    `folder` is where a relative path starts, if that is known. A path with unknown parts is none.
    """
    if ANY in path or ONE in path or not path:
        return False
    if not path.startswith(("/", "~")):
        if not folder:
            return False
        path = f"{folder}/{path}"
    path = normal(path)
    while ONLY_PATTERN.fullmatch(posixpath.basename(path)):
        path = normal(posixpath.dirname(path))
    return path in ROOTS or SOMEONES_HOME.fullmatch(path) is not None


def is_device(path: str) -> bool:
    """Whether writing there writes to a disk or to memory itself, or is an order to the kernel."""
    path = normal(path)
    if path == "/proc/sysrq-trigger":
        return True
    return path.startswith("/dev/") and ANY not in path and HARMLESS_DEVICES.fullmatch(path) is None


def is_network(path: str) -> bool:
    return normal(path).startswith(("/dev/tcp/", "/dev/udp/"))


def is_system_file(path: str) -> bool:
    return normal(path).startswith(SYSTEM)


def normal(path: str) -> str:
    """Without `//`, `/./` and `..`; two slashes at the front are one."""
    path = posixpath.normpath(path) if path else path
    return path[1:] if path.startswith("//") else path
