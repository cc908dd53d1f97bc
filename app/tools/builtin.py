"""The built-in tools: what the model is told of each. Those of the runner run in the scope's sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.policy.classify import classify
from app.policy.patterns import NO_PATTERNS, Patterns
from app.policy.verdict import ALLOW, ask
from app.ports import ToolSpec
from app.results import Verdict


@dataclass(frozen=True, slots=True)
class BuiltinTool:
    """A tool that heyfleet brings; see `app.ports.Tool`."""

    spec: ToolSpec
    idempotent: bool
    place: Literal["runner", "worker"] = "runner"
    confirm: bool | None = None
    """Whether each call is asked about; None: a command as the policy says."""
    patterns: Patterns = NO_PATTERNS

    def judge(self, args: Mapping[str, Any]) -> Verdict:
        """See `app.ports.Tool`. What is blocked stays so, whatever `confirm` says."""
        name = self.spec.name
        verdict = classify(str(args.get("command", "")), self.patterns) if name == "bash" else ALLOW
        if self.confirm is None or verdict.answer == "block":
            return verdict
        if self.confirm:
            return verdict if verdict.answer == "ask" else ask(f"{name}: each call of it is asked about")
        return ALLOW


def text(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


def number(description: str, minimum: int = 0) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum, "description": description}


def builtin(
    name: str,
    description: str,
    properties: Mapping[str, Any],
    required: list[str],
    *,
    idempotent: bool,
    place: Literal["runner", "worker"] = "runner",
) -> BuiltinTool:
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return BuiltinTool(ToolSpec(name, description, parameters), idempotent, place)


PATH = text("Path in the workspace, relative to its top.")

HISTORY = builtin(
    "history",
    "Search what was said earlier in this conversation, also what is no longer in view.",
    {"query": text("Words to look for; empty for the latest."), "limit": number("Messages at most.", 1)},
    ["query"],
    idempotent=True,
    place="worker",
)

TOOLS: tuple[BuiltinTool, ...] = (
    builtin(
        "bash",
        "Run a bash command in the sandbox and return what it printed. Files stay between commands.",
        {"command": text("The command line."), "timeout": number("Seconds it may take.", 1)},
        ["command"],
        idempotent=False,
    ),
    builtin(
        "read",
        "Read a text file, whole or some lines of it.",
        {"path": PATH, "offset": number("Lines to skip."), "limit": number("Lines to read at most.", 1)},
        ["path"],
        idempotent=True,
    ),
    builtin(
        "write",
        "Create or replace a text file.",
        {"path": PATH, "content": text("The whole new content.")},
        ["path", "content"],
        idempotent=True,
    ),
    builtin(
        "edit",
        "Replace a piece of a text file that stands in it exactly once.",
        {"path": PATH, "old": text("The text to replace."), "new": text("What it becomes.")},
        ["path", "old", "new"],
        idempotent=False,
    ),
    builtin(
        "grep",
        "Search files for a regular expression.",
        {"pattern": text("Extended regular expression."), "path": PATH},
        ["pattern"],
        idempotent=True,
    ),
    builtin(
        "find",
        "Find files by name.",
        {"pattern": text("Glob for the name, such as *.py."), "path": PATH},
        ["pattern"],
        idempotent=True,
    ),
    builtin("ls", "List a folder.", {"path": PATH}, [], idempotent=True),
    builtin("attach", "Send a file of the sandbox with the reply.", {"path": PATH}, ["path"], idempotent=True),
    HISTORY,
)
