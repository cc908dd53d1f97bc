"""Sandboxes whose workspace is a folder of this machine: what bubblewrap, guarded and host have in common."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import IO, Protocol

import structlog

from app.config.settings import Runtime as RuntimeSettings
from app.errors import HeyfleetError, Refused
from app.ports import Cancel, Executed
from app.runtimes.files import Folder
from app.runtimes.limits import Capture, OutputLimits
from app.runtimes.process import Ended, Feed
from app.runtimes.texts import encoded, shown

log = structlog.get_logger()

LONGEST_COMMAND = 100_000
"""The kernel takes 128 KiB in one argument (MAX_ARG_STRLEN, https://man7.org/linux/man-pages/man2/execve.2.html)."""
GREP_SECONDS = 20.0
GREP_BYTES = 1_000_000
GREP_LINE = 500


class Launch(Protocol):
    """Runs a program in the sandbox; `feed` gets its output and says whether to read slower."""

    def __call__(self, argv: Sequence[str], feed: Feed, *, timeout: float, cancel: Cancel) -> Ended: ...


class FolderSandbox:
    """See `app.ports.Sandbox`. Its state is its folder, so it may be opened by any runner that has the folder."""

    def __init__(self, files: Folder, launch: Launch, settings: RuntimeSettings) -> None:
        self._files = files
        self._launch = launch
        self._timeout = settings.timeout
        self._limits = OutputLimits(settings.max_output_bytes, settings.max_output_lines, settings.max_file_bytes)

    def exec(self, command: str, *, timeout: float, cancel: Cancel) -> Executed:
        if len(encoded(command)) > LONGEST_COMMAND or "\0" in command:
            raise Refused(f"a command may have {LONGEST_COMMAND} bytes and no NUL; write it to a file and run that")
        limit = min(timeout, self._timeout)
        with Capture(self._limits) as capture:
            ended = self._launch(["bash", "-c", command], capture.feed, timeout=limit, cancel=cancel)
            capture.feed(f"\n{ended.note}\n".encode() if ended.note else b"")
            return Executed(capture.text(self._keep_output), ended.exit_code, ended.ended)

    def read(self, path: str, *, offset: int = 0, limit: int | None = None) -> str:
        return self._files.read(path, offset=offset, limit=limit)

    def write(self, path: str, content: str) -> None:
        self._files.write(path, content)

    def edit(self, path: str, old: str, new: str) -> None:
        self._files.edit(path, old, new)

    def list(self, path: str = ".") -> Sequence[str]:
        return self._files.list(path)

    def find(self, pattern: str, path: str = ".") -> Sequence[str]:
        return self._files.find(pattern, path)

    def grep(self, pattern: str, path: str = ".") -> Sequence[str]:
        """Run by grep itself, in the sandbox: an expression that takes for ever is ended like any command."""
        if "\0" in pattern or len(encoded(pattern)) > LONGEST_COMMAND:
            raise Refused("that is no regular expression: it has a NUL or is too long")
        target = self._files.target(path)
        argv = ["grep", "-rnEIHs", "--null", "-e", pattern, "--", "." if target == "." else f"./{target}"]
        output = bytearray()

        def feed(chunk: bytes) -> bool:
            output.extend(chunk[: GREP_BYTES - len(output)])
            return len(output) >= GREP_BYTES

        ended = self._launch(argv, feed, timeout=min(GREP_SECONDS, self._timeout), cancel=threading.Event())
        if ended.ended != "exited":
            raise Refused(f"the search took longer than {GREP_SECONDS:g} s; use a simpler expression or fewer files")
        if ended.exit_code > 1 and b"\0" not in output:
            raise Refused(f"the search failed: {shown(bytes(output)).strip()}")
        return matches(bytes(output), prefix="./")

    def export(self, path: str, *, max_bytes: int) -> bytes:
        return self._files.export(path, max_bytes=max_bytes)

    def store(self, path: str, content: bytes) -> None:
        self._files.store(path, content)

    def snapshot(self) -> bytes | None:
        return None

    def close(self) -> None:
        """Nothing is held between calls."""

    def _keep_output(self, whole: IO[bytes]) -> str:
        try:
            return self._files.keep_output(whole)
        except HeyfleetError as error:
            # The command has run: what it printed is worth more than the file.
            log.warning("output_not_kept", error=error.message)
            return ""


def matches(output: bytes, prefix: str) -> list[str]:
    """What grep printed (`<prefix>path NUL line:text`) as `path:line:text`, sorted by path and line."""
    found: list[tuple[str, int, str]] = []
    for line in output.split(b"\n"):
        path, nul, rest = line.partition(b"\0")
        number, colon, text = rest.partition(b":")
        if nul and colon and number.isdigit():
            found.append((shown(path).removeprefix(prefix), int(number), shown(text)[:GREP_LINE]))
    return [f"{path}:{number}:{text}" for path, number, text in sorted(found)]
