"""What a command prints, held within limits: both ends are shown, the whole is kept in a file of the sandbox."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from app.runtimes.texts import shown

IN_MEMORY = 1_000_000
ROOM_FOR_NOTE = 200
"""Bytes kept free for the line that says what was left out."""


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """How much of an output is shown (bytes and lines), and how many bytes of the whole are kept in a file."""

    max_bytes: int
    max_lines: int
    whole_bytes: int


class Capture:
    """Takes an output while it is printed. Memory is bounded, whatever comes."""

    def __init__(self, limits: OutputLimits) -> None:
        self._limits = limits
        self._whole = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 — closed by __exit__
        self._kept = 0
        self._end = bytearray()
        self._total = 0
        self._newlines = 0
        self._open_line = False

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self._whole.close()

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes. True once more came than is kept: whoever reads may slow down."""
        self._total += len(chunk)
        self._newlines += chunk.count(b"\n")
        self._open_line = not chunk.endswith(b"\n") if chunk else self._open_line
        room = self._limits.whole_bytes - self._kept
        if room > 0:
            self._kept += self._whole.write(chunk[:room])
        self._end += chunk
        if len(self._end) > 4 * self._limits.max_bytes:
            del self._end[: len(self._end) - self._limits.max_bytes]
        return self._total > self._limits.whole_bytes

    def text(self, store: Callable[[IO[bytes]], str]) -> str:
        """The output as it is shown. `store` puts the whole into a file of the sandbox and returns the file's path
        (empty where it could not); it is called only where something is left out."""
        self._whole.seek(0)
        head = self._whole.read(self._limits.max_bytes)
        lines = self._newlines + self._open_line
        if self._total <= self._limits.max_bytes:
            text = shown(head)
            if lines <= self._limits.max_lines and len(text.encode()) <= self._limits.max_bytes:
                return text
        self._whole.seek(0)
        path = store(self._whole)
        where = f"its first {self._kept} bytes are in {path}" if self._kept < self._total else f"all of it is in {path}"
        if not path:
            where = "it could not be kept in a file"
        return cut(head, bytes(self._end), total=self._total, lines=lines, limits=self._limits, where=where)


def cut(head: bytes, tail: bytes, *, total: int, lines: int, limits: OutputLimits, where: str) -> str:
    """Both ends of an output of `total` bytes and `lines` lines, with a line between that says what was left out.

    `head` and `tail` are its first and last bytes, `max_bytes` of each or all there is.
    """
    # The two can't overlap: together they are shorter, or have fewer lines, than what was too long.
    most = max(0, limits.max_bytes - ROOM_FOR_NOTE) // 2
    first = fitting(first_lines(head[:most], (limits.max_lines - 1) // 2), most, from_end=False)
    last = fitting(last_lines(tail[max(0, len(tail) - most) :], (limits.max_lines - 1) // 2), most, from_end=True)
    left_lines = max(0, lines - first.count(b"\n") - last.count(b"\n"))
    note = f"[… {total - len(first) - len(last)} bytes, about {left_lines} lines, left out here; {where} …]"
    above, below = shown(first), shown(last)
    joint = "" if not above or above.endswith("\n") else "\n"
    return f"{above}{joint}{note}\n{below}"


def first_lines(data: bytes, count: int) -> bytes:
    lines = data.split(b"\n", count)
    return data if len(lines) <= count else data[: len(data) - len(lines[-1])]


def last_lines(data: bytes, count: int) -> bytes:
    body = data.removesuffix(b"\n")
    lines = body.rsplit(b"\n", count)
    return data if len(lines) <= count else data[len(lines[0]) + 1 :]


def fitting(data: bytes, most: int, *, from_end: bool) -> bytes:
    """As much of one end as fits into `most` bytes once shown (bytes that are no text grow), whole characters only."""
    data = whole_characters(data, from_end=from_end)
    while (size := len(shown(data).encode())) > most:
        fewer = len(data) * most // size
        data = whole_characters(data[len(data) - fewer :] if from_end else data[:fewer], from_end=from_end)
    return data


def whole_characters(data: bytes, *, from_end: bool) -> bytes:
    if from_end:
        begun_before = 0
        while begun_before < min(3, len(data)) and data[begun_before] & 0xC0 == 0x80:
            begun_before += 1
        return data[begun_before:]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return data[: len(data) - len(decoder.getstate()[0])]
