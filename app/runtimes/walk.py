"""Walking down a folder that someone else changes at the same time, without being led out of it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from app.errors import HeyfleetError, Refused, Transient
from app.runtimes.texts import DEEPEST, leads_out, parts_of

MOST_LINKS = 40
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Walk:
    """One walk, one name at a time, each folder opened below the one before and never through a link.

    Links are read and followed by hand, `..` goes back up the folders that were opened. So a command that swaps a
    folder for a link while the walk is on gains nothing, as it would between a realpath check and an open; and this
    works where there is no openat2 (macOS, old kernels), which would refuse absolute links to inside as well.
    """

    def __init__(self, root: Path, top: str) -> None:
        self._top = top
        self._links = 0
        self._names: list[str] = []
        try:
            self._folders = [os.open(root, FOLDER)]
        except FileNotFoundError:
            raise Refused("the workspace folder is gone", status=404) from None

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._folders:
            os.close(fd)

    def to(self, path: str, *, make: bool = False) -> tuple[int, str]:
        """The open folder that `path` stands in, and its name there (`.` for the workspace itself).

        The name is no link at the time of looking; open it with O_NOFOLLOW. With `make`, missing folders are made.
        """
        pending = deque(parts_of(path, self._top))
        while pending:
            part = pending.popleft()
            if part == "..":
                self._up(path)
                continue
            target = self._link(part)
            if target is not None:
                self._follow(target, pending, path)
            elif pending:
                self._into(part, make=make)
            else:
                return self._folders[-1], part
        return self._folders[-1], "."

    def into(self, path: str) -> int:
        """The open folder at `path`."""
        _, name = self.to(path)
        if name != ".":
            self._into(name, make=False)
        return self._folders[-1]

    def path_of(self, name: str) -> str:
        """The path, free of links, of a name that `to` returned."""
        return "/".join([*self._names, *([] if name == "." else [name])]) or "."

    def _up(self, path: str) -> None:
        if len(self._folders) == 1:
            raise leads_out(path)
        os.close(self._folders.pop())
        self._names.pop()

    def _link(self, part: str) -> str | None:
        try:
            return os.readlink(part, dir_fd=self._folders[-1])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise

    def _follow(self, target: str, pending: deque[str], path: str) -> None:
        self._links += 1
        if self._links > MOST_LINKS:
            raise Refused(f"{path}: too many links")
        if target.startswith("/"):
            if target != self._top and not target.startswith(self._top.rstrip("/") + "/"):
                raise leads_out(path)
            while len(self._folders) > 1:
                self._up(path)
        pending.extendleft(reversed(parts_of(target, self._top)))

    def _into(self, part: str, *, make: bool) -> None:
        if len(self._folders) > DEEPEST:
            raise Refused(f"the path has more than {DEEPEST} folders")
        try:
            below = os.open(part, FOLDER, dir_fd=self._folders[-1])
        except FileNotFoundError:
            if not make:
                raise
            with contextlib.suppress(FileExistsError):  # someone made it just now
                os.mkdir(part, 0o755, dir_fd=self._folders[-1])
            below = os.open(part, FOLDER, dir_fd=self._folders[-1])
        self._folders.append(below)
        self._names.append(part)


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """Say what the system refused in words, with the path as it was given."""
    try:
        yield
    except HeyfleetError:
        raise
    except FileNotFoundError:
        raise Refused(f"there is no {path}", status=404) from None
    except IsADirectoryError:
        raise Refused(f"{path} is a folder") from None
    except NotADirectoryError:
        raise Refused(f"{path} is no folder, or goes through a file") from None
    except PermissionError:
        raise Refused(f"{path} may not be read or changed", status=403) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Transient(f"{path}: the disk of the workspace is full") from error
        if error.errno == errno.ELOOP:
            raise Refused(f"{path}: too many links") from None
        raise Refused(f"{path}: {os.strerror(error.errno or 0)}") from error
