"""The system call filter, run by a small BPF machine for both kinds of processor."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

import pytest

from app.runtimes.seccomp import ALLOW, ENOSYS, EPERM, ERRNO, KILL, MACHINES, program

X86, ARM, I386 = 0xC000003E, 0xC00000B7, 0x40000003
NEW_USER, NEW_NET, THREAD = 0x10000000, 0x40000000, 0x003D0F00


def verdict(machine: str, number: int, *args: int, arch: int | None = None) -> int:
    """What the filter returns for a system call."""
    code = program(machine)
    assert code is not None
    padded = [*args, *[0] * (6 - len(args))]
    data = struct.pack("<IIQ6Q", number, MACHINES[machine].arch if arch is None else arch, 0, *padded)
    at, accumulator = 0, 0
    while True:
        operation, if_true, if_false, value = struct.unpack_from("<HBBI", code, at * 8)
        at += 1
        match operation:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, value)[0]
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_listed_call_is_refused(machine: str) -> None:
    for number in MACHINES[machine].denied.values():
        assert verdict(machine, number) == ERRNO | EPERM
    assert verdict(machine, 435) == ERRNO | ENOSYS  # clone3


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_process_may_have_children_and_threads_but_no_new_namespaces(machine: str) -> None:
    clone = MACHINES[machine].clone
    assert verdict(machine, clone, 17) == ALLOW
    assert verdict(machine, clone, THREAD) == ALLOW
    assert verdict(machine, clone, NEW_USER | 17) == ERRNO | EPERM
    assert verdict(machine, clone, NEW_NET) == ERRNO | EPERM


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_nothing_is_put_into_a_terminals_input(machine: str) -> None:
    ioctl = MACHINES[machine].ioctl
    assert verdict(machine, ioctl, 0, 0x5401) == ALLOW
    assert verdict(machine, ioctl, 0, 0x5412) == ERRNO | EPERM
    assert verdict(machine, ioctl, 0, 0x541C) == ERRNO | EPERM
    # The kernel looks at the low half only.
    assert verdict(machine, ioctl, 0, 0x1_0000_5412) == ERRNO | EPERM


@pytest.mark.parametrize(("machine", "other"), [("x86_64", ARM), ("x86_64", I386), ("aarch64", X86)])
def test_another_machines_numbers_are_the_end(machine: str, other: int) -> None:
    assert verdict(machine, 0, arch=other) == KILL


def test_the_other_numbers_of_x86_are_the_end() -> None:
    assert verdict("x86_64", 0x40000000 + 39) == KILL


@pytest.mark.parametrize(("machine", "calls"), [("x86_64", (0, 1, 59, 231)), ("aarch64", (63, 64, 221, 94))])
def test_ordinary_calls_are_allowed(machine: str, calls: tuple[int, ...]) -> None:
    assert {verdict(machine, number) for number in calls} == {ALLOW}


def test_a_machine_that_is_not_known_has_no_filter() -> None:
    assert program("riscv64") is None


HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_numbers_are_the_kernels(machine: str) -> None:
    header = next((path for path in HEADERS[machine] if path.exists()), None)
    if header is None:
        pytest.skip(f"the kernel's headers for {machine} are not installed on this {platform.machine()}")
    numbers = {}
    for line in header.read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#define" and words[2].isdigit():
            numbers[words[1].removeprefix("__NR_").removeprefix("3264_").removeprefix("__NR3264_")] = int(words[2])
    known = MACHINES[machine]
    for name, number in {**known.denied, "clone": known.clone, "ioctl": known.ioctl}.items():
        assert numbers[name] == number, name
