"""The workspace, which holds the folders of sandboxes, and the id by which runners know that they share it."""

from __future__ import annotations

import errno
import os
import secrets
import uuid
from pathlib import Path

from app.errors import HeyfleetError, Permanent, Transient

IDENTITY = ".heyfleet-workspace"


def make_folder(path: Path) -> Path:
    """The folder, made (with its parents) if it is missing, only for this user; its real path.

    Raises Permanent or Transient that names the rule that failed: permission denied, a file is in the way, read-only,
    disk full.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise not_made(path, error) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        code = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        raise not_made(path, OSError(code, os.strerror(code)))
    return path.resolve()


def workspace_id(root: Path) -> str:
    """The id of this workspace, the same for every runner that has it; made by whichever is first."""
    path = make_folder(root) / IDENTITY
    try:
        if not path.exists():
            write_id(path)
        return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
    except ValueError:
        raise Permanent(f"{path} holds no id: remove it, and the next runner that starts makes a new one") from None
    except OSError as error:
        raise not_made(path, error) from error


def write_id(path: Path) -> None:
    """A link is made whole or not at all: nobody reads half an id, and only one process is first."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
            file.write(str(uuid.uuid4()))
        os.link(draft, path)
    except FileExistsError:
        pass  # another runner was first: its id is the one
    finally:
        draft.unlink(missing_ok=True)


def not_made(path: Path, error: OSError) -> HeyfleetError:
    what, elsewhere = f"{path} can't be made or used", "set runtime.workspace to another folder"
    match error.errno:
        case errno.EACCES | errno.EPERM:
            where = nearest_existing(path)
            return Permanent(
                f"{what}: permission denied in {where}; give it to the user that runs heyfleet, or {elsewhere}"
            )
        case errno.EEXIST | errno.ENOTDIR:
            return Permanent(f"{what}: a file is in the way at {nearest_existing(path)}; move it, or {elsewhere}")
        case errno.EROFS:
            return Permanent(f"{what}: its file system is read-only; {elsewhere}")
        case errno.ENOSPC | errno.EDQUOT:
            return Transient(f"{what}: the disk is full, or a quota is reached; free some space")
        case _:
            return Permanent(f"{what}: {error.strerror}")


def nearest_existing(path: Path) -> Path:
    for folder in (path, *path.parents):
        if os.path.lexists(folder):
            return folder
    return path
