"""Loads redis-py without OpenTelemetry's metrics, before anything else does.

Where their SDK is installed, redis-py loads it for figures of its own that nobody here asks for: 2.6 MB in each
process.
"""

from __future__ import annotations

import sys

if "redis" not in sys.modules and "opentelemetry" not in sys.modules:
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]  # as the import system wants it
    import redis  # noqa: F401

    del sys.modules["opentelemetry"]
