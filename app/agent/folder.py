"""The agent folder: who the agent is, how it behaves, and the tools that its authors wrote."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from app.agent.modules import ToolModules
from app.authoring import AuthoredTool
from app.errors import ConfigError

BUILT_IN_INSTRUCTIONS = (
    "You help the people in this chat with what they ask for. Be brief and exact. "
    "Say what you did and what came of it; say so when you don't know or can't."
)


class AgentSettings(Protocol):
    """One entry of `agents` in heyfleet.yaml; `app.config.settings.Agent` is what stands behind it."""

    @property
    def path(self) -> Path: ...
    @property
    def model(self) -> str: ...
    @property
    def model_fields_set(self) -> set[str]:
        """Which of them somebody set."""
        ...


@dataclass(frozen=True)
class AgentSpec:
    """An agent as its folder describes it."""

    id: str
    model: str
    """`provider/name`, or a key of `models`."""
    instructions: str
    system: str | None
    """What replaces the generated system prompt."""
    tools: Mapping[str, AuthoredTool] = field(default_factory=dict[str, AuthoredTool])
    """By name, in the order of their files."""
    fingerprint: str = ""
    """Changes when a file that the agent is made of does."""


def load_agent(agent_id: str, settings: AgentSettings) -> AgentSpec:
    """Read the folder. Its tool files are run as trusted Python, each time anew.

    Raises ConfigError with everything that is wrong in it; a folder that nobody named may be missing.
    """
    folder, problems = settings.path, list[str]()
    if not folder.is_dir() and (folder.exists() or "path" in settings.model_fields_set):
        raise ConfigError([f"agents.{agent_id}.path: there is no folder {folder}; make it, or correct the path"])
    # Taken before the files are read: a change while they are read makes the next look see another fingerprint.
    found = fingerprint(folder)
    instructions = text_of(folder / "instructions.md", problems)
    system = text_of(folder / "system.md", problems)
    modules = ToolModules(agent_id)
    tools = modules.load(folder / "tools", tool_files(folder))
    problems += modules.problems
    if problems:
        modules.forget()
        raise ConfigError(problems)
    instructions = BUILT_IN_INSTRUCTIONS if instructions is None else instructions
    spec = AgentSpec(agent_id, settings.model, instructions, system, MappingProxyType(tools), found)
    # The modules stay importable (dataclasses and pickling look them up) as long as a turn may use the tools.
    weakref.finalize(spec, modules.forget).atexit = False
    return spec


def asking_tools(spec: AgentSpec) -> list[str]:
    """Its own tools of which some calls, or all, are asked about."""
    return [name for name, tool in spec.tools.items() if tool.confirm not in (None, False)]


def fingerprint(folder: Path) -> str:
    """A digest of name, size and time of change of every file that the agent is made of."""
    digest = hashlib.sha256()
    for path in [folder / "instructions.md", folder / "system.md", *files_below(folder / "tools")]:
        try:
            facts = path.stat()
        except OSError:
            # Not there, or gone since it was listed: both are another state than being there.
            continue
        digest.update(f"{path.relative_to(folder)}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def tool_files(folder: Path) -> list[Path]:
    return [path for path in files_below(folder / "tools") if path.suffix == ".py"]


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below, in lexical order of the path's parts.

    Hidden ones are left out: a mounted ConfigMap keeps a second copy of all files in `..data` (see
    https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically).
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def text_of(path: Path, problems: list[str]) -> str | None:
    """The file's text, or None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problems.append(f"{path}:{line}: is not in UTF-8; save it as UTF-8")
    except OSError as error:
        problems.append(f"{path}: can't be read ({error.strerror}); make it a file that can")
    return None
