"""Tool files as Python modules: run from their path under a name of their own, and run anew with each reload."""

from __future__ import annotations

import sys
import traceback
import uuid
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from app.authoring import AuthoredTool


class ToolModules:
    """The modules of one reading of an agent folder. `problems` has a line for each file that can't be used."""

    def __init__(self, agent_id: str) -> None:
        self.problems: list[str] = []
        self._prefix = f"heyfleet_agent_{agent_id}_{uuid.uuid4().hex[:12]}"
        self._names: list[str] = []

    def load(self, folder: Path, files: Sequence[Path]) -> dict[str, AuthoredTool]:
        """Run each file; the tools that stand in them, made there or imported there, by name and in order."""
        tools: dict[str, AuthoredTool] = {}
        places: dict[str, str] = {}
        for path in files:
            module = self._run(folder, path)
            for tool in vars(module).values() if module else ():
                if not isinstance(tool, AuthoredTool):
                    continue
                name, place = tool.spec.name, tool.source if tool.source.startswith(f"{path}:") else str(path)
                if tools.setdefault(name, tool) is not tool:
                    self.problems.append(f"{place}: tool {name}: {places[name]} has one of this name; rename one")
                places.setdefault(name, place)
        return tools

    def forget(self) -> None:
        """Let go of the modules; what still runs in them goes on."""
        for name in self._names:
            sys.modules.pop(name, None)

    def _run(self, folder: Path, path: Path) -> ModuleType | None:
        name = f"{self._prefix}.{'.'.join(path.relative_to(folder).with_suffix('').parts)}"
        spec = spec_from_file_location(name, path, loader=FreshLoader(name, str(path)))
        if spec is None or spec.loader is None:
            self.problems.append(f"{path}: can't be imported; give it another name")
            return None
        module = module_from_spec(spec)
        # dataclasses look their own module up while it runs.
        sys.modules[name] = module
        self._names.append(name)
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an author's module may raise anything
            self.problems.append(import_problem(error, path))
            return None
        return module


class FreshLoader(SourceFileLoader):
    """Reads the source each time: size and whole seconds, by which a .pyc is found stale, are too coarse for edits."""

    def path_stats(self, path: Any) -> Any:
        """Say that there is nothing to compare a .pyc with, so that none is read and none is written.

        https://docs.python.org/3/library/importlib.html#importlib.abc.SourceLoader.path_stats
        """
        raise OSError(f"no cached code for {path}")


def import_problem(error: BaseException, path: Path) -> str:
    """`file:line: what was raised`, with the deepest line that is the file's own."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}: {error.msg}; correct it"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = f":{frames[-1].lineno}" if frames else ""
    said = " ".join(str(error).split())
    return f"{path}{line}: {type(error).__name__}: {said}; correct it"
