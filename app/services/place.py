"""Where the servers keep their data and find their programs, so that the user they run as can reach both.

Usually that is `state_dir` and the environment that heyfleet is installed in. As root it often is neither: `state_dir`
is closed to everybody else, and so may be a home folder above the environment. No right of any folder is changed for
that; data and copies of the programs then go to a folder of the system's.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from pathlib import Path

import structlog

from app.errors import Permanent
from app.services.account import ROOT, Account, account_for
from app.services.private import private_folder, read_own, write_private

log = structlog.get_logger()

# The last one is for systems that have none of the others: it is cleaned of old files now and then.
SYSTEM_FOLDERS = (Path("/var/lib"), Path("/Library/Application Support"), Path("/var/tmp"))  # noqa: S108 (checked)
NOTE = "servers-are-in"
OWNER = "belongs-to"


def servers_folder(state_dir: Path) -> Path:
    """The folder of both servers' data: `state_dir` itself, or, noted in it, one that their user can reach.

    Makes `state_dir` (0700) where it is missing. Raises Permanent where there is no such folder.
    """
    private_folder(state_dir)
    note = state_dir / NOTE
    if note.exists():
        return noted_folder(state_dir, Path(read_own(note).strip()))
    account = account_for(state_dir / "postgres")
    if account is None or account.can_enter(state_dir):
        return state_dir
    return outside_folder(state_dir, account)


def noted_folder(state_dir: Path, folder: Path) -> Path:
    """The folder that `state_dir` was given at an earlier start."""
    if not folder.is_dir():
        raise Permanent(
            f"{state_dir / NOTE} says that the databases are in {folder}, and that is gone: "
            f"put it back, or delete {state_dir} to begin with empty ones"
        )
    if os.geteuid() != ROOT:
        raise Permanent(f"the databases of {state_dir} were made by root: start as root, or set another state_dir")
    check_ours(folder)
    owner = Path(read_own(folder / OWNER).strip())
    if owner != state_dir and same_note(owner, folder):
        raise Permanent(
            f"{state_dir} is a copy of {owner}, and both would use the databases in {folder}: delete {state_dir / NOTE}"
        )
    write_private(folder / OWNER, str(state_dir))
    return folder


def same_note(state_dir: Path, folder: Path) -> bool:
    note = state_dir / NOTE
    return note.exists() and read_own(note).strip() == str(folder)


def outside_folder(state_dir: Path, account: Account) -> Path:
    folder = system_folder(account) / f"{state_dir.parent.name}-{secrets.token_hex(4)}"
    open_folder(folder, 0o711)
    write_private(folder / OWNER, str(state_dir))
    write_private(state_dir / NOTE, str(folder))
    log.warning("servers_are_outside_of_state_dir", folder=str(folder), state_dir=str(state_dir), user=account.name)
    return folder


def system_folder(account: Account) -> Path:
    """A folder of root's that `account` can reach."""
    for parent in SYSTEM_FOLDERS:
        folder = parent / "heyfleet"
        if parent.is_dir() and os.access(parent, os.W_OK):
            if not folder.exists():
                open_folder(folder, 0o755)
            check_ours(folder)
            if account.can_enter(folder):
                return folder
    raise Permanent(
        f"the embedded servers run as {account.name}, who can reach none of {', '.join(map(str, SYSTEM_FOLDERS))}: "
        "start heyfleet as an ordinary user, or set DATABASE_URL and REDIS_URL"
    )


def open_folder(folder: Path, mode: int) -> None:
    """Make a folder that others may enter, whatever the umask is."""
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)


def check_ours(folder: Path) -> None:
    """Root works in a folder only where nobody else can put links into it."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != ROOT or found.st_mode & 0o022:
        raise Permanent(f"{folder} is no folder that only root can write to: delete it, it will be made again")


def reachable_program(program: Path, account: Account | None, parts: list[Path], above: Path) -> Path:
    """`program`, or its copy where `account` can't reach it. `parts`, all below `above`, are what it needs."""
    if account is None or account.can_execute(program):
        return program
    digest = hashlib.sha256(program.read_bytes()).hexdigest()[:16]
    copy = system_folder(account) / f"{program.name}-{digest}"
    if not copy.exists():
        log.info("copying_programs", program=program.name, to=str(copy), because=f"{account.name} can't reach them")
        copy_programs(parts, above, copy)
    return copy / program.relative_to(above)


def copy_programs(parts: list[Path], above: Path, copy: Path) -> None:
    """Copied beside and renamed: another start at the same moment sees all of it or nothing."""
    draft = copy.with_name(f".{copy.name}.{secrets.token_hex(4)}")
    draft.mkdir()
    try:
        for part in parts:
            target = draft / part.relative_to(above)
            if part.is_dir():
                shutil.copytree(part, target, symlinks=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(part, target)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755)
        draft.rename(copy)
    except OSError:
        if not copy.exists():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
