"""What processes that run for long do without: each megabyte is there once in every process of a fleet."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.cli import runs_for_long

LOADED = "import {name}, sys; print(*{{'rich', 'opentelemetry'}} & {{m for m, found in sys.modules.items() if found}})"


@pytest.mark.parametrize("name", ["workers.__main__", "beat.__main__", "gateway.__main__"])
def test_processes_load_neither_tables_nor_traces(name: str) -> None:
    found = subprocess.run([sys.executable, "-c", LOADED.format(name=name)], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize(
    ("words", "long"),
    [
        ("python /bin/heyfleet web", True),
        ("python -m app.cli.main web", True),
        ("python -m app.cli.services", True),
        ("python /bin/heyfleet services", False),
        ("python /bin/heyfleet thread web", False),
        ("python -m pytest", False),
        ("python", False),
    ],
)
def test_of_the_command_line_only_what_runs_for_long(words: str, long: bool) -> None:
    assert runs_for_long(words.split()) is long
