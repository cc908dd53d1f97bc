"""The system calls that a sandboxed command may not make, as a classic BPF program for bubblewrap's `--seccomp`.

Source: https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html. A namespace keeps a command in; this
keeps it away from the parts of the kernel through which namespaces have been left before.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass, field

LOAD_WORD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
NUMBER, ARCH, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24
"""Offsets in struct seccomp_data; of the arguments the low halves, both machines being little-endian."""
X32 = 0x40000000
NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
"""Terminal controls that put characters into the input of whoever shares the terminal."""


@dataclass(frozen=True, slots=True)
class Machine:
    """System call numbers of one machine: `denied` by name, and those that need a look at their arguments."""

    arch: int
    clone: int
    ioctl: int
    denied: dict[str, int] = field(default_factory=dict)


# The same on every machine since they were added (https://docs.kernel.org/process/adding-syscalls.html).
NEWER = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
}  # fmt: skip
CLONE3 = 435

MACHINES = {
    "x86_64": Machine(0xC000003E, 56, 16, NEWER | {
        "ptrace": 101, "syslog": 103, "pivot_root": 155, "adjtimex": 159, "acct": 163, "settimeofday": 164,
        "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170, "iopl": 172,
        "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179, "lookup_dcookie": 212,
        "clock_settime": 227, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
        "perf_event_open": 298, "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308,
        "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313, "kexec_file_load": 320, "bpf": 321,
        "userfaultfd": 323,
    }),
    "aarch64": Machine(0xC00000B7, 220, 29, NEWER | {
        "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "quotactl": 60, "acct": 89, "unshare": 97,
        "kexec_load": 104, "init_module": 105, "delete_module": 106, "clock_settime": 112, "syslog": 116,
        "ptrace": 117, "reboot": 142, "sethostname": 161, "settimeofday": 170, "adjtimex": 171, "add_key": 217,
        "request_key": 218, "keyctl": 219, "swapon": 224, "swapoff": 225, "perf_event_open": 241,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "finit_module": 273, "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294,
    }),
}  # fmt: skip


def program(machine: str = "") -> bytes | None:
    """The filter for a machine (this one by default) as bubblewrap reads it; None where its numbers are not known."""
    known = MACHINES.get(machine or platform.machine())
    return None if known is None else assembled(known)


def assembled(machine: Machine) -> bytes:
    """Another machine's numbers (32-bit calls, x32) would slip past the list, so such a process is killed."""
    deny = returned(ERRNO | EPERM)
    checks: list[bytes] = [
        instruction(LOAD_WORD, ARCH),
        instruction(JUMP_EQUAL, machine.arch, 1, 0),
        returned(KILL),
        instruction(LOAD_WORD, NUMBER),
    ]
    if machine.clone == MACHINES["x86_64"].clone:
        checks += [instruction(JUMP_AT_LEAST, X32, 0, 1), returned(KILL)]
    for number in sorted(machine.denied.values()):
        checks += [instruction(JUMP_EQUAL, number, 0, 1), deny]
    # clone3 hides its flags behind a pointer. Told that it does not exist, libraries use clone.
    checks += [instruction(JUMP_EQUAL, CLONE3, 0, 1), returned(ERRNO | ENOSYS)]
    checks += [
        instruction(JUMP_EQUAL, machine.clone, 0, 3),
        instruction(LOAD_WORD, FIRST_ARGUMENT),
        instruction(JUMP_ANY_BIT, NEW_NAMESPACES, 0, 6),
        deny,
        instruction(JUMP_EQUAL, machine.ioctl, 0, 4),
        instruction(LOAD_WORD, SECOND_ARGUMENT),
        instruction(JUMP_EQUAL, TIOCSTI, 1, 0),
        instruction(JUMP_EQUAL, TIOCLINUX, 0, 1),
        deny,
        returned(ALLOW),
    ]
    return b"".join(checks)


def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter; the jumps count the instructions to skip."""
    return struct.pack("<HBBI", code, if_true, if_false, value)


def returned(value: int) -> bytes:
    return instruction(RETURN, value)
