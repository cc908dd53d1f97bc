"""Which tools an agent has: the built-in ones that are on, and its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.config.settings import BuiltinTool as Switch
from app.config.settings import Policy
from app.db import Database
from app.errors import ConfigError
from app.policy.patterns import patterns_of
from app.ports import Tool
from app.tools.builtin import TOOLS
from app.tools.history import History


def tools_of(
    db: Database, authored: Mapping[str, Tool], switches: Mapping[str, bool | Switch], policy: Policy
) -> dict[str, Tool]:
    """Tools by name, in the order in which the model is told of them. Raises ConfigError for a name used twice."""
    found: dict[str, Tool] = {}
    for tool in TOOLS:
        switch = switches.get(tool.spec.name, True)
        if switch is False:
            continue
        confirm = switch.confirm if isinstance(switch, Switch) else None
        judged = replace(tool, confirm=confirm, patterns=patterns_of(policy))
        found[tool.spec.name] = History(db, judged) if tool.spec.name == "history" else judged
    for name, own in authored.items():
        if name in found:
            cure = f"rename it or set builtin_tools.{name}: false"
            raise ConfigError([f"tool {name}: a built-in tool has this name; {cure}"])
        found[name] = own
    return found
