"""Tables as lines of characters of one width: no provider knows tables."""

from __future__ import annotations

from collections.abc import Sequence

from wcwidth import wcswidth

from app.adapters.formatting.nodes import Align


def aligned(rows: Sequence[Sequence[str]], aligns: Sequence[Align]) -> str:
    """The rows under each other, with a line below the first one."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(map(padded, row, widths, aligns)).rstrip() for row in rows]
    lines.insert(1, "-+-".join("-" * each for each in widths))
    return "\n".join(lines)


def padded(text: str, wanted: int, align: Align) -> str:
    missing = wanted - width(text)
    before = {"left": 0, "center": missing // 2, "right": missing}[align]
    return " " * before + text + " " * (missing - before)


def width(text: str) -> int:
    """In columns: a Chinese character takes two, an accent none."""
    return max(wcswidth(text), 0)
