"""Durations and sizes as people write them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def seconds(value: Any) -> Any:
    """`30s`, `5m`, `1h30m` as seconds; a bare number is seconds already."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.replace(".", "", 1).isdigit():
        return float(text)  # as a placeholder or a variable gives a bare number
    parts = DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{value!r} is no duration: write it as 30s, 5m or 1h30m")
    return sum(float(number) * DURATION_UNITS[unit] for number, unit in parts)


def byte_count(value: Any) -> Any:
    """`25MB`, `64KiB` as bytes; a bare number is bytes already."""
    if not isinstance(value, str):
        return value
    match = SIZE.fullmatch(value.strip())
    if not match or match.group(2).upper() not in SIZE_UNITS:
        raise ValueError(f"{value!r} is no size: write it as 500KB, 25MB or 64MiB")
    return int(float(match.group(1)) * SIZE_UNITS[match.group(2).upper()])


def show_duration(value: float) -> str:
    """Seconds in the shortest form that `seconds` reads back."""
    for unit in ("d", "h", "m", "s"):
        if value >= DURATION_UNITS[unit] and value % DURATION_UNITS[unit] == 0:
            return f"{value / DURATION_UNITS[unit]:.0f}{unit}"
    return f"{value * 1000:.6f}".rstrip("0").rstrip(".") + "ms"


def positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than zero")
    return value


Duration = Annotated[float, BeforeValidator(seconds), PlainSerializer(show_duration, when_used="json")]
Size = Annotated[int, BeforeValidator(byte_count)]
