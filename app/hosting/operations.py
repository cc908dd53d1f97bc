"""A runtime tool's call as an operation on the open sandbox."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from app.clock import uuid7
from app.errors import Refused
from app.ports import Cancel, Executed, Sandbox
from app.results import shortened

LINES_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take."""

    timeout: float
    max_export_bytes: int


@dataclass(frozen=True, slots=True)
class Done:
    """What an operation gave back."""

    text: str
    changed: bool = False
    """The sandbox may be different now."""
    ended: Executed | None = None
    files: Sequence[Mapping[str, str]] = ()


Operation = Callable[[Sandbox, Mapping[str, Any], Limits, Cancel], Done]


def operate(tool: str, sandbox: Sandbox, args: Mapping[str, Any], limits: Limits, cancel: Cancel) -> Done:
    """Carry out one call. Raises Refused for arguments or paths that can't be used."""
    operation = OPERATIONS.get(tool)
    if operation is None:
        raise Refused(f"the sandbox has no operation named {tool}")
    return operation(sandbox, args, limits, cancel)


def bash(sandbox: Sandbox, args: Mapping[str, Any], limits: Limits, cancel: Cancel) -> Done:
    timeout = min(limits.timeout, positive(args, "timeout") or limits.timeout)
    ended = sandbox.exec(string(args, "command"), timeout=timeout, cancel=cancel)
    match ended.ended:
        case "timeout":
            note = f"[stopped after {timeout:g} s]"
        case "cancelled":
            note = "[stopped]"
        case "exited":
            note = f"[exit code {ended.exit_code}]" if ended.exit_code else ""
    output = ended.output.rstrip("\n")
    text = f"{output}\n{note}".strip("\n") if note else output
    return Done(text or "(no output)", changed=True, ended=ended)


def read(sandbox: Sandbox, args: Mapping[str, Any], _limits: Limits, _cancel: Cancel) -> Done:
    limit = min(positive(args, "limit") or LINES_SHOWN, LINES_SHOWN)
    offset = positive(args, "offset") or 0
    text = sandbox.read(string(args, "path"), offset=offset, limit=limit)
    shown = text.count("\n") + (0 if text.endswith("\n") else 1)
    more = f"\n[lines {offset + 1} to {offset + shown}; read on with offset {offset + shown}]" if shown >= limit else ""
    return Done(shortened(text) + more)


def write(sandbox: Sandbox, args: Mapping[str, Any], _limits: Limits, _cancel: Cancel) -> Done:
    path, content = string(args, "path"), string(args, "content")
    sandbox.write(path, content)
    return Done(f"Wrote {len(content.encode())} bytes to {path}.", changed=True)


def edit(sandbox: Sandbox, args: Mapping[str, Any], _limits: Limits, _cancel: Cancel) -> Done:
    path = string(args, "path")
    sandbox.edit(path, string(args, "old"), string(args, "new"))
    return Done(f"Changed {path}.", changed=True)


def grep(sandbox: Sandbox, args: Mapping[str, Any], _limits: Limits, _cancel: Cancel) -> Done:
    return listing(sandbox.grep(string(args, "pattern"), string(args, "path", ".")), "Nothing matches.")


def find(sandbox: Sandbox, args: Mapping[str, Any], _limits: Limits, _cancel: Cancel) -> Done:
    return listing(sandbox.find(string(args, "pattern"), string(args, "path", ".")), "Nothing is named like this.")


def ls(sandbox: Sandbox, args: Mapping[str, Any], _limits: Limits, _cancel: Cancel) -> Done:
    return listing(sandbox.list(string(args, "path", ".")), "The folder is empty.")


def attach(sandbox: Sandbox, args: Mapping[str, Any], limits: Limits, _cancel: Cancel) -> Done:
    path = string(args, "path")
    content = sandbox.export(path, max_bytes=limits.max_export_bytes)
    name = PurePosixPath(path).name
    if not content:
        raise Refused(f"{name} is empty, which chats do not take; say so instead")
    file = {
        "id": str(uuid7()),
        "name": name,
        "media_type": mimetypes.guess_type(name)[0] or "application/octet-stream",
        "data": base64.b64encode(content).decode(),
    }
    return Done(f"{name} ({len(content)} bytes) will be sent with the reply.", files=[file])


OPERATIONS: dict[str, Operation] = {
    "bash": bash,
    "read": read,
    "write": write,
    "edit": edit,
    "grep": grep,
    "find": find,
    "ls": ls,
    "attach": attach,
}


def string(args: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = args.get(name, default)
    if not isinstance(value, str):
        raise Refused(f"{name} must be given, as text")
    return value


def positive(args: Mapping[str, Any], name: str) -> int | None:
    """A number that may be left out. Models write whole numbers as floats too."""
    value = args.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise Refused(f"{name} must be a number from 0")
    return int(value)


def listing(lines: Sequence[str], nothing: str) -> Done:
    more = f"\n[{len(lines) - LINES_SHOWN} more lines left out]" if len(lines) > LINES_SHOWN else ""
    return Done((shortened("\n".join(lines[:LINES_SHOWN])) + more) or nothing)
