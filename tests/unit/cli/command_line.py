"""`heyfleet …` in this process, as the console script runs it, with a configuration in a folder of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.main import main


@dataclass
class Ran:
    out: str
    err: str

    @property
    def lines(self) -> list[list[str]]:
        """The rows of a table."""
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def findings(self) -> dict[str, list[tuple[str, str]]]:
        """Of `check --json` and `doctor --json`: level and text of each, by what was looked at."""
        found: dict[str, list[tuple[str, str]]] = {}
        for each in self.json:
            found.setdefault(each["what"], []).append((each["level"], each["said"]))
        return found


class CommandLine:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.secrets: list[str] = []
        """What must be in no output."""
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def configure(self, *adapters: dict[str, Any], **more: Any) -> None:
        settings = {"state_dir": str(self.folder / "state"), "adapters": list(adapters), **more}
        (self.folder / "heyfleet.yaml").write_text(yaml.safe_dump(settings))
        for adapter in adapters:
            self.secrets += [str(value) for key, value in adapter.items() if key.endswith(("token", "secret"))]

    def run(self, *arguments: str, code: int = 0) -> Ran:
        """Fails unless it ends with `code`, an error with one line that says so, and without a secret in its output."""
        self._monkeypatch.setattr(sys, "argv", ["heyfleet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        ran = Ran(*self._capsys.readouterr())
        assert (ended.value.code or 0) == code, ran
        assert not [secret for secret in self.secrets if secret in ran.out + ran.err], ran
        return ran

    def refused(self, *arguments: str) -> str:
        """What the one line on stderr says."""
        ran = self.run(*arguments, code=1)
        assert ran.out == ""
        lines = [line for line in ran.err.splitlines() if not line.startswith("(")]
        assert len(lines) == 1, ran.err
        return lines[0].removeprefix("heyfleet: ")


def levels(findings: dict[str, Sequence[tuple[str, str]]]) -> set[str]:
    return {level for found in findings.values() for level, _ in found}
