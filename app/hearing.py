"""How adapters of other packages hear what happens in their chats; those of this one have ways of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from app.ports import Cancel
from app.traffic import Happening

Take = Callable[[Happening], str]
"""Takes in what happened in a chat: who may, is it meant for the agent, in which conversation. Returns what whoever did
it is to be told at once, and nobody else; empty: nothing. Raises Unavailable: then nothing was done, and it may be told
again. The same event is taken in once, however often it is told."""


@runtime_checkable
class Served(Protocol):
    """An adapter of another package whose provider posts to us."""

    def blueprint(self, take: Take) -> Any:
        """A flask.Blueprint, served by every web process below /KIND/NAME. It verifies before it parses; what it raises
        of `app.errors` becomes an answer: Refused with its status, Unavailable 503."""
        ...


@runtime_checkable
class Listening(Protocol):
    """An adapter of another package that asks its provider, or holds a connection to it."""

    def listen(self, take: Take, stop: Cancel) -> None:
        """Work for as long as this process leads, and return soon after `stop` is set; begun again when it returned or
        raised. Of all gateways one is here at a time, but for moments: an event may be told twice, none left out."""
        ...
