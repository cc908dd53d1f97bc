"""Paths and texts as every runtime treats them."""

from __future__ import annotations

from io import StringIO
from itertools import islice

from app.errors import Refused

LONGEST_PATH = 4096
DEEPEST = 100
BINARY_LOOK = 8192


def parts_of(path: str, top: str) -> list[str]:
    """A tool's path as the names to walk from the workspace, `..` among them.

    `top` is the workspace's own absolute path as commands see it. Refused for an absolute path elsewhere and for what
    is no path at all.
    """
    encoded(path)
    if "\0" in path or len(path) > LONGEST_PATH:
        raise Refused("that is no path: it has a NUL or is too long")
    if path.startswith("/"):
        if path != top and not path.startswith(top.rstrip("/") + "/"):
            raise Refused(f"{path} is outside of the workspace; paths are relative to its top", status=403)
        path = path[len(top) :]
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if len(parts) > DEEPEST:
        raise Refused(f"the path has more than {DEEPEST} folders")
    return parts


def leads_out(path: str) -> Refused:
    return Refused(f"{path} leads out of the workspace", status=403)


def encoded(text: str) -> bytes:
    """A text as it is stored. Refused for half of a surrogate pair, which no file can hold."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Refused("the text holds half of a character (a lone surrogate)") from None


def shown(data: bytes) -> str:
    """Bytes as text for a reader. A NUL is replaced as well: Postgres can't store it in a text."""
    return data.decode("utf-8", "replace").replace("\0", "\ufffd")


def text_of(data: bytes, path: str) -> str:
    """A file's text. Refused where it is not text."""
    if b"\0" in data[:BINARY_LOOK]:
        raise Refused(f"{path} is not a text file; use a command to look into it")
    return shown(data)


def lines_of(text: str, offset: int, limit: int | None) -> str:
    """Lines `offset` (from 0) up to `offset + limit`. Only a newline ends a line."""
    if offset < 0 or (limit is not None and limit < 0):
        raise Refused("offset and limit must be numbers from 0")
    if offset == 0 and limit is None:
        return text
    end = None if limit is None else offset + limit
    return "".join(islice(StringIO(text, newline="\n"), offset, end))


def replaced(data: bytes, old: str, new: str, path: str) -> bytes:
    """The file with the one place where `old` stands replaced; every other byte stays what it was.

    Refused where `old` stands nowhere or more than once (overlapping places count).
    """
    wanted = encoded(old)
    if not wanted:
        raise Refused("the text to replace must not be empty")
    first = data.find(wanted)
    if first < 0:
        raise Refused(f"the text to replace does not stand in {path}; read it again, spaces count")
    if data.find(wanted, first + 1) >= 0:
        raise Refused(f"the text to replace stands more than once in {path}; give more of its surroundings")
    return data[:first] + encoded(new) + data[first + len(wanted) :]
