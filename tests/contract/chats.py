"""Chats for the contract that every adapter keeps: a provider of ours, an ingress, a worker and a runner around it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import make_server

from app.bootstrap import core
from app.ingress.app import create_app
from tests.db.doubles import NoteRuntime, ScriptedModel
from tests.db.rows import pump, rows
from tests.db.stations import Runner, Worker, settings_of
from tests.fakes.provider import FakeProvider

NAME = "team-chat"


class Ingress:
    """A web process's app on a port of its own, with as many threads as it is asked by."""

    def __init__(self, database_url: str, redis_url: str, settings: Mapping[str, Any]) -> None:
        self.settings = settings_of(settings)
        self.core = core(lambda: self.settings, database_url, redis_url, "web", patience=1.0)
        self._server = make_server("127.0.0.1", 0, create_app(self.core), threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self.core.close()


class Chat(ABC):
    """A provider with a channel, two people and the bot; and a fleet of one of each process, worked by hand."""

    settles = True
    """Whether a doubtful send can be looked up."""
    bots_meet = True
    """Whether a bot is told what another one says."""
    whispers = True
    """Whether somebody can be told something that nobody else sees."""
    fake: FakeProvider

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.urls = (database_url, redis_url)
        self.model = ScriptedModel()
        self.ran: list[str] = []
        self.runtime = NoteRuntime(lambda command, _: self.ran.append(command))
        self.ingresses: list[Ingress] = []
        self._stations: list[Worker | Runner] = []

    # --- the fleet

    def start(self, ingresses: int = 1, adapter: Mapping[str, Any] | None = None, **settings: Any) -> None:
        """`adapter` is more of the adapter's configuration."""
        whole = {**settings, "adapters": [{**self.config(), **(adapter or {})}]}
        self.ingresses += [Ingress(*self.urls, whole) for _ in range(ingresses)]
        adapters = self.ingresses[0].core.adapters
        # What happens to the model's answers is of no interest to a provider's rules on speed.
        more = {"delivery": {"backoff": "10ms", "settle_after": "10ms"}, **whole}
        self.worker = Worker(*self.urls, model=self.model, ports=adapters, **more)
        self.runner = Runner(*self.urls, runtime=self.runtime, **more)
        self._stations += [self.worker, self.runner]
        self.connect()

    def close(self) -> None:
        for station in self._stations:
            station.close()
        for ingress in self.ingresses:
            ingress.close()

    def work(self) -> None:
        """Do all that is to be done now."""
        pump(self.worker, self.runner)

    def until_sent(self) -> None:
        """Work until nothing waits to be sent, whatever limits and retries it waits for."""

        def nothing_left() -> bool:
            self.work()
            return not rows(self.worker.db, "SELECT 1 FROM delivery WHERE state IN ('pending', 'sending') LIMIT 1")

        self.fake.wait_for(nothing_left, 60, "something is not sent")

    def turns(self) -> int:
        return len(rows(self.worker.db, "SELECT id FROM turn"))

    def states(self, kind: str = "reply") -> list[str]:
        """The states of all deliveries of a kind."""
        statement = "SELECT state FROM delivery WHERE kind LIKE :kind ORDER BY created_at, seq"
        return [state for (state,) in rows(self.worker.db, statement, kind=kind)]

    # --- the provider

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The adapter's entry in heyfleet.yaml."""

    def connect(self) -> None:  # noqa: B027 (most need nothing)
        """Tell the provider where events go, where it wants to know that."""

    @abstractmethod
    def dm(self, text: str, who: str = "ann") -> Any:
        """Somebody writes to the bot alone."""

    @abstractmethod
    def say(self, text: str, who: str = "ann", *, mention: bool = False, thread: Any = None) -> Any:
        """Somebody writes in the channel, or in a message's thread there. What it was."""

    @abstractmethod
    def redeliver(self, said: Any, ingress: int = 0) -> int:
        """The event of a message once more; the status of the answer."""

    @abstractmethod
    def heard(self, where: str) -> list[str]:
        """What the bot said, in the `channel` (threads too) or the `dm`, in order, as people read it."""

    @abstractmethod
    def edits(self, where: str) -> int:
        """How often the bot changed its first message there."""

    @property
    @abstractmethod
    def reacting(self) -> Sequence[str]:
        """What the fake calls the adding and taking away of a reaction."""

    @abstractmethod
    def delete_last(self, where: str) -> None:
        """Somebody deletes the bot's last message there."""

    @abstractmethod
    def buttons(self, where: str) -> list[dict[str, str]]:
        """The buttons of the bot's last card, by label."""

    @abstractmethod
    def press(self, where: str, label: str, who: str = "ann") -> str:
        """Press a button of the bot's last card whose label begins so; what the presser alone is told."""

    @abstractmethod
    def order(self, text: str, who: str = "ann") -> str:
        """Give a command in the channel by the provider's own means; what its giver is told."""

    @abstractmethod
    def marks(self, said: Any) -> list[str]:
        """The bot's reactions to a message."""

    @abstractmethod
    def files(self, where: str) -> list[tuple[str, bytes]]:
        """Files that the bot sent."""

    @abstractmethod
    def share(self, text: str, name: str, content: bytes) -> Any:
        """Ann sends the bot a file, with a text."""

    @abstractmethod
    def forged(self) -> int:
        """An event that is not the provider's; the status of the answer."""

    @property
    @abstractmethod
    def posting(self) -> str:
        """What the fake calls the sending of a message."""

    @abstractmethod
    def bot_says(self) -> None:
        """The bot's own message comes back as an event."""


@contextmanager
def chatting(kind: type[Chat], database_url: str, redis_url: str) -> Iterator[Chat]:
    chat = kind(database_url, redis_url)
    try:
        yield chat
    finally:
        chat.close()
