"""JSON and text that Postgres can store: it takes no NUL, no half a surrogate pair and no NaN, and models send them."""

from __future__ import annotations

import json
import math
from typing import Any


def storable(text: str) -> str:
    """The text with what Postgres refuses replaced by U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def dumps(value: Any) -> str:
    """`value` as JSON text that a jsonb parameter takes."""
    try:
        encoded = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:  # NaN or an infinity: Python's JSON reads and writes them, JSON has neither
        return json.dumps(cleaned(value), separators=(",", ":"))
    # Both are written as escapes by json.dumps; the rare text that has one is cleaned and encoded again.
    if "\\u0000" in encoded or "\\ud" in encoded:
        encoded = json.dumps(cleaned(value), separators=(",", ":"))
    return encoded


def cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {storable(str(key)): cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(item) for item in value]
    return value
