"""What can't be taken in: how often it is tried before it is left out, and what is behind it gets its turn."""

from __future__ import annotations

TRIES = 10


class Patience:
    """With the one thing that is at the head of what a provider tells."""

    def __init__(self) -> None:
        self._what: object = None
        self._tries = 0

    def again(self, what: object) -> bool:
        """Count a failure; whether to try it again."""
        if what != self._what:
            self._what, self._tries = what, 0
        self._tries += 1
        return self._tries < TRIES
