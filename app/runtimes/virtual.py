"""A bash that is no process: bashkit's interpreter and files in memory. Its snapshot is the sandbox."""

from __future__ import annotations

import fnmatch
import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO

from bashkit import Bash

from app.config.settings import Runtime as RuntimeSettings
from app.errors import HeyfleetError, Refused, Transient
from app.ports import Cancel, Executed, Sandbox
from app.runtimes.files import OUTPUT_NAME, OUTPUTS
from app.runtimes.folder import GREP_SECONDS, matches
from app.runtimes.interpreter import LOOK_SECONDS, TOP, Interpreter, Loop
from app.runtimes.limits import Capture, OutputLimits
from app.runtimes.process import EXIT_CANCELLED, EXIT_TIMEOUT
from app.runtimes.texts import encoded, leads_out, lines_of, parts_of, replaced, text_of

MOST_LINKS = 40
MOST_FILE_BYTES = 10_000_000
"""bashkit's own limit for one file."""
OUTPUTS_KEPT = 5
WHOLE_BYTES = 1_000_000
"""How much of an output is kept in a file: it becomes part of the snapshot, which is stored after each command."""


class VirtualRuntime:
    """See `app.ports.Runtime`."""

    name = "virtual"
    portable = True

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._loop: Loop | None = None

    def available(self) -> str | None:
        return None

    def open(self, key: str, snapshot: bytes | None) -> Sandbox:  # noqa: ARG002 — the snapshot is its state
        with self._lock:
            if self._loop is None:
                self._loop = Loop()
        return VirtualSandbox(Interpreter(self._loop, self._settings, snapshot), self._settings)


class VirtualSandbox:
    """See `app.ports.Sandbox`. Calls from several threads take turns."""

    def __init__(self, interpreter: Interpreter, settings: RuntimeSettings) -> None:
        self._interpreter = interpreter
        self._timeout = settings.timeout
        self._max_bytes = min(settings.max_file_bytes, MOST_FILE_BYTES)
        whole = min(settings.max_file_bytes, WHOLE_BYTES)
        self._limits = OutputLimits(settings.max_output_bytes, settings.max_output_lines, whole)
        self._lock = threading.Lock()

    def exec(self, command: str, *, timeout: float, cancel: Cancel) -> Executed:
        encoded(command)
        if "\0" in command:
            raise Refused("a command may have no NUL")
        while not self._lock.acquire(timeout=LOOK_SECONDS):
            if cancel.is_set():
                return Executed("", EXIT_CANCELLED, "cancelled")
        try:
            with Capture(self._limits) as capture:
                return self._run(command, capture, min(timeout, self._timeout), cancel)
        finally:
            self._lock.release()

    def _run(self, command: str, capture: Capture, timeout: float, cancel: Cancel) -> Executed:
        result, ended = self._interpreter.run(
            command, lambda out, err: print_into(capture, out or err), timeout=timeout, cancel=cancel
        )
        if result is not None and result.error:
            # Of the parser or of a limit: it is not among the chunks.
            print_into(capture, f"bash: {result.error}\n")
        code = EXIT_TIMEOUT if ended == "timeout" else EXIT_CANCELLED if result is None else result.exit_code
        return Executed(capture.text(self._keep_output), code, ended)

    def read(self, path: str, *, offset: int = 0, limit: int | None = None) -> str:
        return lines_of(text_of(self.export(path, max_bytes=self._max_bytes), path), offset, limit)

    def write(self, path: str, content: str) -> None:
        self.store(path, encoded(content))

    def edit(self, path: str, old: str, new: str) -> None:
        with self._mine(path):
            content = replaced(self._content(path, self._max_bytes), old, new, path)
            self._put(path, content)

    def list(self, path: str = ".") -> Sequence[str]:
        with self._mine(path):
            return sorted(f"{name}/" if kind == "directory" else name for name, kind in self._entries(self._at(path)))

    def find(self, pattern: str, path: str = ".") -> Sequence[str]:
        with self._mine(path):
            found: list[str] = []
            pending = [self._at(path)]
            while pending:
                folder = pending.pop()
                for name, kind in self._entries(folder):
                    below = f"{folder}/{name}"
                    if fnmatch.fnmatchcase(name, pattern):
                        found.append(below.removeprefix(f"{TOP}/"))
                    if kind == "directory":
                        pending.append(below)
            return sorted(found)

    def grep(self, pattern: str, path: str = ".") -> Sequence[str]:
        """bashkit's own grep, whose expressions take linear time. In a subshell: the shell stays as it is."""
        encoded(pattern)
        with self._mine(path):
            target = self._at(path)
            if not self._bash.exists(target):
                raise Refused(f"there is no {path}", status=404)
            command = f"(command grep -rnEIHs --null -e {shlex.quote(pattern)} -- {shlex.quote(target)})"
            limit = min(GREP_SECONDS, self._timeout)
            result, _ = self._interpreter.run(command, lambda _out, _err: None, timeout=limit, cancel=threading.Event())
        if result is None:
            raise Refused(f"the search took longer than {limit:g} s; use a simpler expression or fewer files")
        if result.exit_code > 1 or result.error:
            raise Refused(f"the search failed: {result.stderr.strip()}")
        return matches(result.stdout.encode(), prefix=f"{TOP}/")

    def export(self, path: str, *, max_bytes: int) -> bytes:
        with self._mine(path):
            return self._content(path, max_bytes)

    def store(self, path: str, content: bytes) -> None:
        with self._mine(path):
            self._put(path, content)

    def snapshot(self) -> bytes | None:
        with self._mine("the workspace"):
            return self._interpreter.snapshot()

    def close(self) -> None:
        """The interpreter goes with this object."""

    @property
    def _bash(self) -> Bash:
        return self._interpreter.bash

    @contextmanager
    def _mine(self, path: str) -> Iterator[None]:
        """Hold the interpreter, and say in words what it refuses."""
        if not self._lock.acquire(timeout=self._timeout):
            raise Transient("the sandbox is busy with a command")
        try:
            yield
        except RuntimeError as error:
            said = str(error).removeprefix("io error: ")
            raise Refused(f"{path}: {said}", status=404 if "not found" in said else 400) from error
        finally:
            self._lock.release()

    def _at(self, path: str) -> str:
        """The absolute path with every link followed; Refused where it leads out of the workspace."""
        pending, done, links = parts_of(path, TOP), [TOP], 0
        while pending:
            part = pending.pop(0)
            if part == "..":
                if len(done) == 1:
                    raise leads_out(path)
                done.pop()
                continue
            target = self._link("/".join([*done, part]))
            if target is None:
                done.append(part)
                continue
            links += 1
            if links > MOST_LINKS:
                raise Refused(f"{path}: too many links")
            if target.startswith("/"):
                if target != TOP and not target.startswith(f"{TOP}/"):
                    raise leads_out(path)
                done = [TOP]
            pending = parts_of(target, TOP) + pending
        return "/".join(done)

    def _link(self, path: str) -> str | None:
        try:
            return self._bash.read_link(path)
        except RuntimeError:
            return None  # no link, or nothing there

    def _entries(self, path: str) -> Sequence[tuple[str, str]]:
        """Names in a folder, and what each is: file, directory or symlink."""
        return [(entry["name"], entry["metadata"]["file_type"]) for entry in self._bash.read_dir(path)]

    def _content(self, path: str, max_bytes: int) -> bytes:
        place = self._at(path)
        if not self._bash.exists(place):
            raise Refused(f"there is no {path}", status=404)
        found = self._bash.stat(place)
        if found["file_type"] != "file":
            raise Refused(f"{path} is a folder" if found["file_type"] == "directory" else f"{path} is no ordinary file")
        if found["size"] > max_bytes:
            raise Refused(f"{path} has more than {max_bytes} bytes", status=413)
        return self._bash.fs().read_file(place)

    def _put(self, path: str, content: bytes) -> None:
        if len(content) > self._max_bytes:
            raise Refused(f"{path} would have more than {self._max_bytes} bytes", status=413)
        place = self._at(path)
        self._bash.mkdir(str(PurePosixPath(place).parent), recursive=True)
        mode = self._bash.stat(place)["mode"] if self._bash.exists(place) else None
        self._bash.fs().write_file(place, content)
        if mode is not None:
            self._bash.chmod(place, mode)

    def _keep_output(self, whole: IO[bytes]) -> str:
        """Put a command's whole output into the next file of its folder; empty where it does not fit any more."""
        try:
            at = self._at(OUTPUTS)
            self._bash.mkdir(at, recursive=True)
            numbers = sorted(int(name[:-4]) for name, _ in self._entries(at) if OUTPUT_NAME.fullmatch(name))
            for number in numbers[: max(0, len(numbers) - OUTPUTS_KEPT + 1)]:
                self._bash.remove(f"{at}/{number}.txt")
            name = f"{numbers[-1] + 1 if numbers else 1}.txt"
            self._bash.fs().write_file(f"{at}/{name}", whole.read())
        except (RuntimeError, HeyfleetError):
            return ""
        return f"{OUTPUTS}/{name}"


def print_into(capture: Capture, text: str) -> None:
    capture.feed(text.encode("utf-8", "replace"))
