"""Imported before anything else by processes that run for long and show no tables: it keeps `rich` out of them.

structlog loads it where it can be found, for tracebacks that nobody here asks for: 7 MB in each process.
https://www.structlog.org/en/stable/exceptions.html
"""

from __future__ import annotations

import sys

import app.lean_redis  # noqa: F401 (as well)

sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # as the import system wants it for what is not to be had
