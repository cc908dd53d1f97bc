"""The command line. What runs for long and shows no tables does without what is for those."""

from __future__ import annotations

import sys
from pathlib import Path

from app import lean_redis  # noqa: F401 (before what loads `redis`)

NAMES = ("heyfleet", "app.cli.main")


def runs_for_long(words: list[str]) -> bool:
    """Of the words of a command line: is it `heyfleet web` or `python -m app.cli.services`?"""
    *_, before, last = ["", "", *words]
    return last == "app.cli.services" or (last == "web" and Path(before).name in NAMES)


if runs_for_long(sys.orig_argv):
    from app import lean  # noqa: F401
