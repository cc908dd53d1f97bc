"""The messages between runner, supervisor and keepers, with descriptors beside them. Standard library only."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

HEADER = struct.Struct("!cI")
"""A message: its kind, and the length of the JSON after it."""
RUN, STOP = b"R", b"S"
MOST_FDS = 16
FIRST_FD = 10
"""The number of the first extra descriptor in a command's process."""
ABOVE = 64
"""Where received descriptors are moved to, out of the way of the numbers that a command expects."""


def send(to: socket.socket, kind: bytes, body: Mapping[str, Any] | None = None, fds: Sequence[int] = ()) -> None:
    data = json.dumps(body).encode() if body is not None else b""
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    to.sendmsg([HEADER.pack(kind, len(data))], passed)
    to.sendall(data)


def receive(channel: socket.socket) -> tuple[bytes, dict[str, Any], list[int]] | None:
    """The next message's kind, body and descriptors; None where the runner is gone."""
    fds = array.array("i")
    header, ancillary, _flags, _address = channel.recvmsg(HEADER.size, socket.CMSG_LEN(MOST_FDS * fds.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, ABOVE) for fd in fds]
    for fd in fds:
        os.close(fd)
    if len(header) < HEADER.size:
        return None
    what, length = HEADER.unpack(header)
    body = bytearray()
    while len(body) < length:
        chunk = channel.recv(length - len(body))
        if not chunk:
            return None
        body += chunk
    return what, json.loads(body or b"{}"), moved
