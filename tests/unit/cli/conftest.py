"""The command line, without what it does to this process's logging."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.command_line import CommandLine


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEYFLEET_CONFIG", raising=False)
    for module in ("providers", "doctor"):
        monkeypatch.setattr(f"app.cli.{module}.configure", lambda *_: None)
    return CommandLine(tmp_path, monkeypatch, capsys)
