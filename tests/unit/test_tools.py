"""What the built-in tools say of a call, as they are configured."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.settings import Settings
from app.db import Database
from app.tools.registry import tools_of


def judged(tool: str, args: dict[str, Any], **settings: Any) -> str:
    found = Settings.model_validate(settings)
    # Connects to nothing until it is used.
    db = Database("postgresql+psycopg://nobody@127.0.0.1:1/none", name="test", pool_size=1)
    return tools_of(db, {}, found.builtin_tools, found.policy)[tool].judge(args).answer


@pytest.mark.parametrize(
    ("command", "confirm", "answer"),
    [
        ("ls", None, "allow"), ("ls", True, "ask"), ("ls", False, "allow"),
        ("rm -rf x", None, "ask"), ("rm -rf x", True, "ask"), ("rm -rf x", False, "allow"),
        ("reboot", None, "block"), ("reboot", True, "block"), ("reboot", False, "block"),
    ],
)  # fmt: skip
def test_a_block_holds_whatever_is_confirmed(command: str, confirm: bool | None, answer: str) -> None:
    assert judged("bash", {"command": command}, builtin_tools={"bash": {"confirm": confirm}}) == answer


@pytest.mark.parametrize("tool", ["read", "write", "history"])
def test_other_tools_are_asked_about_where_it_is_said(tool: str) -> None:
    assert judged(tool, {}) == "allow"
    assert judged(tool, {}, builtin_tools={tool: {"confirm": True}}) == "ask"


def test_the_operator_s_patterns_reach_bash() -> None:
    policy = {"allow": ["rm -rf build"], "block": ["ls *"]}
    assert judged("bash", {"command": "rm -rf build"}, policy=policy) == "allow"
    assert judged("bash", {"command": "ls x"}, policy=policy) == "block"
    assert judged("bash", {"command": 7}) == "allow", "which is refused when it runs"
