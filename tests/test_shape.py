"""The shape of the code: small rooms, told names, imports that point down, and nothing of one machine in it."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CODE = ("app", "workers", "beat", "gateway")
MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 50
VAGUE = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "stuff", "base_utils"}
# What is made by tools and not kept.
NOT_OURS = {".git", ".venv", ".heyfleet", "__pycache__", "node_modules", "build", "dist", "workspace", "out"}
# Put together here, so that this file does not hold what it looks for.
MACHINE_PATHS = [f"/{name}/" for name in ("work", "root")] + ["/tmp/" + "lab", "/opt/" + "pypi", "/opt/" + "wheels"]
REGISTRIES = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "index-" + "url", "find-" + "links"]


def python_files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    assert found
    return [path for path in found if not NOT_OURS & set(path.parts)]


def shown(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def all_files() -> Iterator[Path]:
    for folder, folders, names in os.walk(REPOSITORY):
        folders[:] = [name for name in folders if name not in NOT_OURS and not is_cache(name)]
        yield from (Path(folder) / name for name in names if name not in NOT_OURS)


def is_cache(name: str) -> bool:
    return name.endswith((".egg-info", "_cache")) or name == ".hypothesis"


# --- small rooms


def test_no_module_is_too_long() -> None:
    long = {shown(path): lines for path in python_files(*CODE) if (lines := line_count(path)) > MOST_LINES}
    assert long == {}, f"split what is over {MOST_LINES} lines"


def line_count(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_function_is_too_long() -> None:
    long = {
        f"{shown(path)}:{node.lineno} {node.name}": lines
        for path in python_files(*CODE)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}


def test_names_say_what_is_in_there() -> None:
    vague = [
        shown(path)
        for path in all_files()
        if path.suffix == ".py" and VAGUE & {path.stem.strip("_"), path.parent.name, *path.stem.split("_")}
    ]
    assert vague == []


def test_no_class_or_function_has_a_vague_name() -> None:
    named = re.compile(r"(?:^|_)(utils?|helpers?|common|manager|misc)(?:_|$)|(Utils?|Helpers?|Manager)$")
    vague = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in python_files(*CODE, "tests")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and named.search(node.name)
    ]
    assert vague == []


def test_every_folder_with_code_is_a_package() -> None:
    """Else setuptools leaves it out of the wheel, and pytest mixes up tests of one name."""
    bare = {
        shown(path.parent)
        for path in python_files(*CODE, "migrations", "tests", "bench")
        if not (path.parent / "__init__.py").exists()
    }
    assert bare == set()


def test_nothing_happens_when_a_module_is_imported() -> None:
    """Only imports, definitions, constants and registrations stand at the top of a module."""
    acting = [
        f"{shown(path)}:{node.lineno}"
        for path in python_files(*CODE)
        if path.name != "__main__.py"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.For | ast.While | ast.With | ast.Try)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and called(node.value) in ACTIONS)
    ]
    assert acting == []


ACTIONS = {"print", "connect", "start", "run", "main", "mkdir", "basicConfig"}


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


# --- imports point down


def layers() -> list[list[str]]:
    configured = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in configured if contract["type"] == "layers"]
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def top_modules() -> set[str]:
    """Each module of `app` by its first two names, and the other roots."""
    inside = {
        "app." + shown(path).split("/")[1].removesuffix(".py")
        for path in python_files("app")
        if shown(path) != "app/__init__.py"
    }
    return inside | {"workers", "beat", "gateway"}


def test_every_module_has_its_layer() -> None:
    """What no layer names is not checked at all."""
    named = [name for layer in layers() for name in layer]
    assert sorted(top_modules() - set(named)) == [], "add them to the layers in pyproject.toml"
    assert len(named) == len(set(named))


def test_every_layer_names_something_that_is_there() -> None:
    assert sorted({name for layer in layers() for name in layer} - top_modules()) == []


def test_no_module_imports_what_is_above_or_beside_it() -> None:
    """import-linter checks this too; here it takes no cache and says which line it is."""
    level = {name: number for number, layer in enumerate(reversed(layers())) for name in layer}
    wrong = [
        f"{shown(path)}:{line} imports {target}"
        for path in python_files(*CODE)
        for line, target in imported(path)
        if (here := two_names(dotted(path))) != (there := two_names(target))
        and there in level
        and here in level
        and level[there] >= level[here]
    ]
    assert wrong == []


def imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def dotted(path: Path) -> str:
    return shown(path).removesuffix(".py").replace("/", ".")


def two_names(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "app" else parts[0]


# --- nothing of one machine


@pytest.mark.parametrize("what", ["machine paths", "registries"])
def test_no_file_names_a_machine_or_a_registry(what: str) -> None:
    words = MACHINE_PATHS if what == "machine paths" else REGISTRIES
    looked_for = re.compile("|".join(rf"(?<![\w.-]){re.escape(word)}" for word in words))
    found = [
        f"{shown(path)}:{number} {line.strip()[:80]}"
        for path in all_files()
        if (text := text_of(path))
        for number, line in enumerate(text.splitlines(), 1)
        if looked_for.search(line)
    ]
    assert found == []


def text_of(path: Path) -> str:
    """Empty for what is no text."""
    if path.is_symlink() or not path.is_file():
        return ""
    raw = path.read_bytes()
    return "" if b"\0" in raw[:1024] else raw.decode(errors="replace")
