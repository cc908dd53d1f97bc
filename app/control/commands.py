"""Control commands: orders to heyfleet itself, in a chat's text. No model ever sees one."""

from __future__ import annotations

import re
from dataclasses import dataclass

ALONE = frozenset(("approvals", "bypasses", "status", "new"))
WITH_ID = frozenset(("approve", "deny", "revoke", "status", "cancel"))
IN_TURN = frozenset(("bash", "new"))
"""Carried out in the thread's order, by whoever holds its lane; the others at once."""
BASH = re.compile(r"/?bash\s+(\S.*)", re.DOTALL | re.IGNORECASE)
ID = re.compile(r"(?=[a-z]*\d)[2-9a-hj-km-np-z]{8}|(?=[a-f-]*\d)[0-9a-f-]{6,36}")
"""A code, or (the end of) a turn's id: `deny requests` and `cancel order-4711` are sentences."""


@dataclass(frozen=True, slots=True)
class Command:
    """`verb` and what it is about: an id, or bash's command line."""

    verb: str
    about: str = ""
    bypass: bool = False

    @property
    def text(self) -> str:
        """As it is stored, for whoever carries it out."""
        return " ".join(filter(None, (self.verb, self.about, "bypass" if self.bypass else "")))

    @property
    def at_once(self) -> bool:
        return self.verb not in IN_TURN


BUSY = "busy"
"""Stored in place of a command where a message was turned away: nobody can give it."""


def recall(stored: str) -> Command | None:
    """The command of a turn."""
    return Command(BUSY) if stored == BUSY else parse(stored)


def parse(text: str) -> Command | None:
    """The command that a message is, whole and by itself, with or without a `/`; None for a message to the agent."""
    found = BASH.fullmatch(text.strip())
    if found:
        return Command("bash", found[1])
    words = text.strip().removeprefix("/").lower().split()
    match words:
        case [verb] if verb in ALONE:
            return Command(verb)
        case [verb, about] if verb in WITH_ID and ID.fullmatch(about):
            return Command(verb, about)
        case ["approve", about, "bypass"] if ID.fullmatch(about):
            return Command("approve", about, bypass=True)
    return None
