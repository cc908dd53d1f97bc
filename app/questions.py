"""What people read of an approval."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from app.jsonb import dumps, storable

SHOWN_ARGUMENTS = 2000
"""Characters of a call's arguments on its card."""


UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""What a terminal or a chat would obey instead of showing it: people must see what they decide about."""


def visible(text: str) -> str:
    """The text with control characters and changes of direction written out: `\\x1b`, `\\u202e`."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown_arguments(tool: str, args: Mapping[str, Any]) -> str:
    """What a person reads of a call: its command, or all arguments; what is cut is named by its hash."""
    command, more = args.get("command"), {name: value for name, value in args.items() if name != "command"}
    text = dumps(args)
    if tool == "bash" and isinstance(command, str):
        text = f"{command}\n{dumps(more)}" if more else command
    text = visible(text)
    if len(text) <= SHOWN_ARGUMENTS:
        return text
    digest = hashlib.sha256(storable(text).encode()).hexdigest()
    return f"{text[:SHOWN_ARGUMENTS]} […{len(text) - SHOWN_ARGUMENTS} more characters; sha256 of the whole: {digest}]"


def minutes(remaining: Any) -> int:
    """Until then, rounded up; at least 0."""
    return max(0, -int(-remaining.total_seconds() // 60))


def view(asked: Row[Any]) -> dict[str, Any]:
    """An approval as callers of the HTTP adapter and of `--json` see it."""
    until: datetime = asked.expires_at
    return {
        "id": asked.code,
        "tool": asked.tool,
        "arguments": asked.args,
        "sha256": asked.digest,
        "reason": asked.reason,
        "details": asked.details,
        "requester": asked.requester,
        "state": asked.state,
        "expiresAt": until.isoformat(),
        "decidedBy": asked.decided_by,
    }
