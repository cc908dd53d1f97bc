"""Which tools an agent has: the built-in ones that are on, and its own."""

from __future__ import annotations

from collections.abc import Mapping

from app.db import Database
from app.errors import ConfigError
from app.ports import Tool
from app.tools.builtin import TOOLS
from app.tools.history import History


def tools_of(db: Database, authored: Mapping[str, Tool], switched: Mapping[str, bool]) -> dict[str, Tool]:
    """Tools by name, in the order in which the model is told of them. Raises ConfigError for a name used twice."""
    found: dict[str, Tool] = {tool.spec.name: tool for tool in TOOLS}
    found["history"] = History(db)
    found = {name: tool for name, tool in found.items() if switched.get(name, True)}
    for name, tool in authored.items():
        if name in found:
            cure = f"rename it or set builtin_tools.{name}: false"
            raise ConfigError([f"tool {name}: a built-in tool has this name; {cure}"])
        found[name] = tool
    return found
