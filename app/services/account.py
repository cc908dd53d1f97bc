"""Whom the servers run as: root is refused by Postgres, and a database needs no rights of root's."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.errors import Permanent

ROOT = 0


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged user of this machine."""

    name: str
    uid: int
    gid: int

    def can_enter(self, folder: Path) -> bool:
        """Whether it reaches `folder` and may work in what is below; asked of the kernel, which knows of ACLs."""
        return self._test("-x", folder)

    def can_execute(self, program: Path) -> bool:
        """Whether it reaches `program` and may run it."""
        return self._test("-x", program)

    def _test(self, operator: str, path: Path) -> bool:
        try:
            done = subprocess.run(  # noqa: S603 (a path is no command)
                ["/bin/sh", "-c", 'test "$1" "$2"', "sh", operator, str(path)],
                user=self.uid,
                group=self.gid,
                extra_groups=[],
                cwd="/",
                env={},
                check=False,
            )
        except OSError as error:
            # A container whose user namespace has no such id, or that lacks CAP_SETUID.
            raise Permanent(
                f"root can't become {self.name} here ({error.strerror}), as which the embedded servers have to run: "
                "start heyfleet as an ordinary user, or set DATABASE_URL and REDIS_URL"
            ) from None
        return done.returncode == 0


def account_for(data: Path) -> Account | None:
    """Who the server of the folder `data` runs as; None: the user that we are, who is not root.

    For root it is the owner of `data`, else of the folder that it will be in, else who called sudo, else nobody.
    """
    if os.geteuid() != ROOT:
        return None
    if data.exists() and (found := data.stat()).st_uid != ROOT:
        return Account(f"user {found.st_uid}", found.st_uid, found.st_gid)
    above = data.parent.stat().st_uid if data.parent.exists() else ROOT
    # Not a setting of ours: sudo's word about who is at the keyboard.
    return by_uid(above) or by_uid(int(os.environ.get("SUDO_UID") or ROOT)) or nobody()


def by_uid(uid: int) -> Account | None:
    """A user by number; None for root and for one that this machine doesn't know, for whom initdb would not work."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    return None if uid == ROOT else Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def nobody() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise Permanent(
            "this machine has no user named nobody, as whom root would run the embedded servers: "
            "start heyfleet as an ordinary user, or set DATABASE_URL and REDIS_URL"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
