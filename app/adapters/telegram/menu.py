"""The command that people find in the bot's menu. https://core.telegram.org/bots/features#commands"""

from __future__ import annotations

from app.adapters.telegram.api import TIMEOUT, Api

DESCRIPTION = "Orders to the agent's fleet: status, approvals, approve ID …"


def set_menu(api: Api, command: str, timeout: float = TIMEOUT) -> None:
    """Overwritten with the same, it stays as it is. Raises Refusal and httpx errors.
    https://core.telegram.org/bots/api#setmycommands"""
    api.call("setMyCommands", {"commands": [{"command": command, "description": DESCRIPTION}]}, timeout=timeout)
