"""The files of a workspace that is a folder of this machine."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from app.errors import Refused
from app.runtimes.texts import DEEPEST, encoded, lines_of, replaced, text_of
from app.runtimes.walk import Walk, told

MOST_NAMES = 20_000
MOST_FOUND = 10_000
MOST_LOOKED_AT = 500_000
OUTPUTS = ".output"
OUTPUT_NAME = re.compile(r"[1-9][0-9]{0,8}\.txt")
OUTPUTS_KEPT = 20
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Folder:
    """A workspace folder. `top` is its path as commands see it; files of more than `max_bytes` are refused."""

    root: Path
    top: str
    max_bytes: int

    def read(self, path: str, *, offset: int = 0, limit: int | None = None) -> str:
        """See `app.ports.Sandbox.read`."""
        return lines_of(text_of(self.export(path, max_bytes=self.max_bytes), path), offset, limit)

    def write(self, path: str, content: str) -> None:
        self.store(path, encoded(content))

    def edit(self, path: str, old: str, new: str) -> None:
        self.store(path, replaced(self.export(path, max_bytes=self.max_bytes), old, new, path))

    def export(self, path: str, *, max_bytes: int) -> bytes:
        with told(path), self._walk() as walk:
            folder, name = walk.to(path)
            # Non-blocking: a pipe that a command made in the file's place must not hold the runner.
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with closing(fd):
                must_be_file(os.fstat(fd), path)
                content = read_up_to(fd, max_bytes + 1)  # not by its size: it may grow
        if len(content) > max_bytes:
            raise Refused(f"{path} has more than {max_bytes} bytes", status=413)
        return content

    def store(self, path: str, content: bytes) -> None:
        if len(content) > self.max_bytes:
            raise Refused(f"{path} would have more than {self.max_bytes} bytes", status=413)
        with told(path), self._walk() as walk:
            folder, name = walk.to(path, make=True)
            mode = 0o644
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                must_be_file(found, path)
                mode = stat.S_IMODE(found.st_mode)
            # Written beside and renamed: a reader sees the old file or the new one, and what stands there is never
            # opened, whatever a command puts in its place.
            draft = f".{secrets.token_hex(8)}.draft"
            try:
                with os.fdopen(self._create(folder, draft, mode), "wb") as file:
                    file.write(content)
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=folder)
                raise

    def list(self, path: str = ".") -> Sequence[str]:
        names = sorted(f"{name}/" if is_folder else name for name, is_folder in self._entries(path))
        if len(names) > MOST_NAMES:
            raise Refused(f"{path} has more than {MOST_NAMES} entries; use find")
        return names

    def find(self, pattern: str, path: str = ".") -> Sequence[str]:
        found = []
        pending, looked_at = [self.target(path)], 0
        while pending:
            folder = pending.pop()
            for name, is_folder in self._entries(folder):
                looked_at += 1
                below = name if folder == "." else f"{folder}/{name}"
                if fnmatch.fnmatchcase(name, pattern):
                    found.append(below)
                if is_folder and below.count("/") < DEEPEST - 1:
                    pending.append(below)
            if len(found) > MOST_FOUND or looked_at > MOST_LOOKED_AT:
                raise Refused(f"there are too many files below {path}; name a folder further down")
        return sorted(found)

    def target(self, path: str) -> str:
        """The path of an existing file or folder with its links followed, from the top, for use by a command."""
        with told(path), self._walk() as walk:
            folder, name = walk.to(path)
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            return walk.path_of(name)

    def keep_output(self, whole: IO[bytes]) -> str:
        """Put a command's whole output into the next file of its folder, and return the file's path."""
        with told(OUTPUTS), self._walk() as walk:
            folder, _ = walk.to(f"{OUTPUTS}/new", make=True)
            numbers = sorted(int(name[:-4]) for name in os.listdir(folder) if OUTPUT_NAME.fullmatch(name))
            for number in numbers[: max(0, len(numbers) - OUTPUTS_KEPT + 1)]:
                with contextlib.suppress(OSError):  # a folder of that name, or gone: not ours to remove
                    os.unlink(f"{number}.txt", dir_fd=folder)
            fd, name = self._next(folder, numbers[-1] + 1 if numbers else 1)
            with os.fdopen(fd, "wb") as file:
                while chunk := whole.read(CHUNK):
                    file.write(chunk)
            return f"{OUTPUTS}/{name}"

    def _next(self, folder: int, number: int) -> tuple[int, str]:
        while True:
            with contextlib.suppress(FileExistsError):  # another command of this sandbox took it just now
                return self._create(folder, f"{number}.txt", 0o644), f"{number}.txt"
            number += 1

    def _walk(self) -> Walk:
        return Walk(self.root, self.top)

    @staticmethod
    def _create(folder: int, name: str, mode: int) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=folder)
        os.fchmod(fd, mode)
        return fd

    def _entries(self, path: str) -> Iterator[tuple[str, bool]]:
        """Names in a folder, and whether each is a folder itself (a link to one is not)."""
        with told(path), self._walk() as walk, os.scandir(walk.into(path)) as entries:
            for entry in islice(entries, MOST_NAMES + 1):
                yield entry.name, entry.is_dir(follow_symlinks=False)


@contextlib.contextmanager
def closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


def read_up_to(fd: int, count: int) -> bytes:
    content = bytearray()
    while len(content) < count and (chunk := os.read(fd, min(CHUNK, count - len(content)))):
        content += chunk
    return bytes(content)


def must_be_file(found: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise Refused(f"{path} is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path} is no ordinary file")
