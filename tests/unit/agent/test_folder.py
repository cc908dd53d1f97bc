"""From the agent folder to an agent."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

from app.agent.folder import BUILT_IN_INSTRUCTIONS, AgentSpec, fingerprint, load_agent
from app.authoring import Ctx
from app.config.settings import Agent
from app.errors import ConfigError
from tests.unit.agent.conftest import Files
from tests.unit.agent.test_authoring import CTX

TOOL = "from app.authoring import tool\n@tool\ndef {name}() -> str:\n    return {text!r}\n"


def load(folder: Path) -> AgentSpec:
    return load_agent("ops", Agent(path=folder, model="demo/echo"))


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(folder)
    return refused.value.problems


def tool(name: str, text: str = "") -> str:
    return TOOL.format(name=name, text=text or name)


def test_everything_that_a_folder_has(folder: Path, files: Files) -> None:
    files({"instructions.md": "\nBe kind.\n", "system.md": "You are it.\n", "tools/a.py": tool("greet")})
    spec = load(folder)
    assert (spec.id, spec.model, spec.instructions, spec.system) == ("ops", "demo/echo", "Be kind.", "You are it.")
    assert spec.tools["greet"].run(CTX, {}) == "greet"
    assert spec.fingerprint == fingerprint(folder)


def test_built_in_instructions_serve_an_empty_folder(folder: Path) -> None:
    spec = load(folder)
    assert (spec.instructions, spec.system, dict(spec.tools)) == (BUILT_IN_INSTRUCTIONS, None, {})


def test_only_the_default_folder_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_agent("default", Agent()).instructions == BUILT_IN_INSTRUCTIONS
    assert problems(tmp_path / "no") == [
        f"agents.ops.path: there is no folder {tmp_path / 'no'}; make it, or correct the path"
    ]
    (tmp_path / "agent").write_text("a file")
    with pytest.raises(ConfigError, match="there is no folder agent"):
        load_agent("default", Agent())


def test_tools_are_found_everywhere_below_in_lexical_order(folder: Path, files: Files) -> None:
    files(
        {
            "tools/b.py": tool("b"),
            "tools/a/z.py": tool("az"),
            "tools/a/b/c.py": tool("abc"),
            "tools/a.b-c.py": tool("x"),
        }
    )
    assert list(load(folder).tools) == ["abc", "az", "x", "b"]


def test_what_is_no_tool_is_passed_over(folder: Path, files: Files) -> None:
    broken = "raise RuntimeError"
    files(
        {
            "notes.txt": "x",
            "script.py": broken,
            "jobs/a.py": broken,
            "skills/a/tools/a.py": broken,
            "tools/read.me": "x",
            "tools/.hidden.py": broken,
            "tools/..data/a.py": broken,
            "tools/__pycache__/a.py": broken,
            "tools/plain.py": "X = 1\ndef not_a_tool() -> None: ...",
        }
    )
    assert dict(load(folder).tools) == {}


def test_linked_files_are_read(folder: Path, files: Files) -> None:
    files({"tools/..data/a.py": tool("a")})
    (folder / "tools" / "a.py").symlink_to("..data/a.py")
    assert list(load(folder).tools) == ["a"]


def test_two_tools_of_one_name(folder: Path, files: Files) -> None:
    files({"tools/a.py": tool("greet"), "tools/b.py": "\n" + tool("greet")})
    tools = folder / "tools"
    assert problems(folder) == [f"{tools / 'b.py'}:3: tool greet: {tools / 'a.py'}:2 has one of this name; rename one"]


def test_one_tool_may_have_two_names_in_its_file(folder: Path, files: Files) -> None:
    files({"tools/a.py": tool("greet") + "again = greet\n"})
    assert list(load(folder).tools) == ["greet"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\ny = (", ":2: '(' was never closed; correct it"),
        ("x = 1\nimport no_such_module\n", ":2: ModuleNotFoundError: No module named 'no_such_module'; correct it"),
        ("def f():\n    raise ValueError('two\\nlines')\nf()", ":2: ValueError: two lines; correct it"),
        ("import sys\nsys.exit(3)", ":2: SystemExit: 3; correct it"),
        (
            "from app.authoring import tool\n\n@tool\ndef f(x): ...",
            ":3: TypeError: tool f: parameter x has no type; write x: str; correct it",
        ),
        (
            "from app.authoring import tool\n@tool(confirmed=True)\ndef f() -> None: ...",
            ":2: TypeError: tool() got an unexpected keyword argument 'confirmed'; correct it",
        ),
        ("import json\njson.loads('x')", ":2: JSONDecodeError: Expecting value: line 1 column 1 (char 0); correct it"),
    ],
)
def test_a_broken_tool_file_is_told_with_its_line(folder: Path, files: Files, text: str, problem: str) -> None:
    files({"tools/a.py": text})
    assert problems(folder) == [f"{folder / 'tools' / 'a.py'}{problem}"]


def test_everything_wrong_is_told_at_once(folder: Path, files: Files) -> None:
    files({"tools/a.py": "1 +", "tools/b.py": "1 +"})
    (folder / "instructions.md").write_bytes(b"fine\n\xe9")
    (folder / "system.md").mkdir()
    assert [problem.partition(": ")[0] for problem in problems(folder)] == [
        f"{folder / 'instructions.md'}:2",
        str(folder / "system.md"),
        f"{folder / 'tools' / 'a.py'}:1",
        f"{folder / 'tools' / 'b.py'}:1",
    ]


def test_an_edit_within_the_same_second_is_read(folder: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = folder / "tools" / "a.py"
    files({"tools/a.py": tool("greet", "one")})
    os.utime(path, ns=(1_000_000_000, 1_000_000_000))
    assert load(folder).tools["greet"].run(CTX, {}) == "one"
    files({"tools/a.py": tool("greet", "two")})
    os.utime(path, ns=(1_000_000_001, 1_000_000_001))
    assert load(folder).tools["greet"].run(CTX, {}) == "two"
    assert not (path.parent / "__pycache__").exists()


def test_dataclasses_and_deferred_annotations_work_in_tool_files(folder: Path, files: Files) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom app.authoring import Ctx, tool\n"
        "@dataclass\nclass Place:\n    name: str\n"
        "@tool\ndef visit(ctx: Ctx, place: Place) -> str:\n    return f'{ctx.actor} visits {place.name}'\n"
    )
    files({"tools/a.py": text})
    ctx = Ctx("anna", "t", "k", CTX.cancel, CTX.sandbox)
    assert load(folder).tools["visit"].run(ctx, {"place": {"name": "Rome"}}) == "anna visits Rome"


def loaded_modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("heyfleet_agent_ops_")}


def test_modules_are_let_go_with_their_agent(folder: Path, files: Files) -> None:
    files({"tools/a.py": tool("a")})
    before = loaded_modules()
    spec = load(folder)
    assert len(loaded_modules() - before) == 1
    del spec
    gc.collect()
    assert loaded_modules() <= before
    files({"tools/b.py": "1 +"})
    problems(folder)
    assert loaded_modules() <= before


def test_the_fingerprint_follows_what_the_agent_is_made_of(folder: Path, files: Files) -> None:
    seen = [fingerprint(folder)]
    for contents in ({"instructions.md": "a"}, {"system.md": "a"}, {"tools/a.py": "a"}, {"tools/x/data.json": "1"}):
        files(contents)
        seen.append(fingerprint(folder))
    os.utime(folder / "tools" / "a.py", ns=(1, 1))
    seen.append(fingerprint(folder))
    files({"tools/a.py": "longer"})
    os.utime(folder / "tools" / "a.py", ns=(1, 1))
    seen.append(fingerprint(folder))
    (folder / "system.md").unlink()
    seen.append(fingerprint(folder))
    assert len(set(seen)) == len(seen)
    files({"notes.txt": "a", "jobs/a.yaml": "a", "tools/.swap": "a"})
    assert fingerprint(folder) == seen[-1]


def test_the_fingerprint_of_a_missing_folder(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "no") == fingerprint(tmp_path / "none")
