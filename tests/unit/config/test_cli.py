"""`heyfleet config`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from app.cli.config import config_app


@dataclass
class State:
    config: Path | None


def run(*arguments: str, config: Path | None = None) -> Result:
    parent = typer.Typer()
    parent.add_typer(config_app)

    @parent.callback()
    def main(context: typer.Context) -> None:
        context.obj = State(config)

    return CliRunner().invoke(parent, ["config", *arguments])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show_as_yaml_and_json(folder: Path) -> None:
    (folder / "c.yaml").write_text("http: {port: 5}\nsentry_dsn: sesame\n")
    as_yaml = run("show", config=Path("c.yaml"))
    as_json = run("show", "--json", config=Path("c.yaml"))
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
    assert json.loads(as_json.stdout)["http"]["port"] == 5
    assert "sesame" not in as_yaml.output + as_json.output


def test_check_says_ok_in_one_line(folder: Path) -> None:
    result = run("check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "ok: no heyfleet.yaml, the built-in defaults serve (agents: default)\n"
    (folder / "heyfleet.yaml").write_text("")
    assert run("check").stdout == f"ok: {folder / 'heyfleet.yaml'} (agents: default)\n"


@pytest.mark.parametrize("command", ["check", "show"])
def test_every_problem_goes_to_stderr(folder: Path, command: str) -> None:
    (folder / "heyfleet.yaml").write_text("http: {port: x}\nhtpp: 1\n")
    result = run(command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "heyfleet.yaml:1: http.port: must be a whole number",
        "heyfleet.yaml:2: htpp: there is no such key; did you mean http?",
    ]


def test_check_looks_into_the_agent_folders(folder: Path) -> None:
    (folder / "heyfleet.yaml").write_text("agents: {default: {}, ops: {path: ops}, dev: {path: dev}}")
    (folder / "dev" / "tools").mkdir(parents=True)
    (folder / "dev" / "tools" / "a.py").write_text("1 +")
    result = run("check")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"agents.ops.path: there is no folder {folder / 'ops'}; make it, or correct the path",
        f"{folder / 'dev' / 'tools' / 'a.py'}:1: invalid syntax; correct it",
    ]


def test_schema() -> None:
    assert json.loads(run("schema").stdout)["title"] == "heyfleet.yaml"
