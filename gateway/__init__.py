"""The gateway: connections that providers want to be asked over, rather than post to."""

from app import lean  # noqa: F401 (before anything else is loaded)
