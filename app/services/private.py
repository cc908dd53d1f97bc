"""Files and folders that nobody else may read."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from app.services.account import ROOT, Account


def private_folder(folder: Path, account: Account | None = None) -> None:
    """Make `folder`, mode 0700, owned by `account`. One that exists keeps its mode, and so do all folders above it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    if account:
        os.chown(folder, account.uid, account.gid)


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Create or replace a file, mode 0600, in one step: a reader sees the old or the new one.

    It belongs to `account`, else to the owner of its folder: one start with sudo must not lock the user out.
    """
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            give(descriptor, path.parent, account)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def kept_password(path: Path, account: Account | None) -> str:
    """The password in the file at `path`; a random one is made where there is no such file."""
    if path.exists():
        return read_own(path).strip()
    write_private(path, secrets.token_urlsafe(32), account)
    return read_own(path)


def read_own(path: Path) -> str:
    """Read a file without following a link: where root reads, another user must not choose what."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="utf-8") as file:
        return file.read()


def open_log(path: Path, *, keep_bytes: int = 10_000_000) -> int:
    """A descriptor that appends to the log at `path`, mode 0600; a log that has grown too long is put aside first."""
    if path.exists() and path.stat().st_size > keep_bytes:
        os.replace(path, path.with_name(f"{path.name}.1"))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    give(descriptor, path.parent, None)
    return descriptor


def give(descriptor: int, folder: Path, account: Account | None) -> None:
    if os.geteuid() == ROOT:
        owner = folder.stat()
        os.fchown(descriptor, *((account.uid, account.gid) if account else (owner.st_uid, owner.st_gid)))
