"""A worker's and a runner's services inside the test's process, put together as `app.process` does, over doubles."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app import calls, runners
from app.calls import Place
from app.cancel import cancel
from app.config.settings import Settings
from app.control.desk import Desk, lapse
from app.db import Database
from app.deliveries import Outbox, deliver
from app.hosting.lane import Host, work
from app.hosting.operations import Limits
from app.hosting.warm import Warm
from app.inbox import Accepted, accept
from app.jobs.admitting import Admission, admit
from app.leases import Keeper
from app.ports import Adapter
from app.queue import Wakes
from app.rate_limits import RateLimits
from app.sweep import Sweeper
from app.tools.registry import tools_of
from app.traffic import Inbound
from app.turns.advance import advance
from app.turns.pace import Pace
from app.turns.services import Persona, TurnServices
from tests.db.doubles import NoteAdapter, NoteRuntime, ScriptedModel

SETTINGS: dict[str, Any] = {
    "lease": {"ttl": "15s", "renew": "5s", "sweep": "2s"},
    "drain": "5s",
    # Stands for the adapter that notes: its permissions are looked up here.
    "adapters": [{"kind": "local", "name": "note"}],
}


def settings_of(more: Mapping[str, Any]) -> Settings:
    return Settings.model_validate({**SETTINGS, **more})


class Station:
    """What a worker and a runner have in common. Its keeper renews nothing until `keeper.start()`."""

    def __init__(self, database_url: str, redis_url: str, name: str, more: Mapping[str, Any]) -> None:
        self.settings = settings_of(more)
        self.name = f"{name} {uuid.uuid4().hex[:6]}"
        self.db = Database(database_url, name=self.name, pool_size=3)
        lease = self.settings.lease
        self.leases_db = Database(database_url, name=f"{self.name} leases", pool_size=1)
        self.keeper = Keeper(self.leases_db, self.name, ttl=lease.ttl, renew=lease.renew, look=0.05)
        self.wakes = Wakes(redis_url)
        self.draining = threading.Event()

    def close(self) -> None:
        self.keeper.close()
        self.wakes.close()
        self.db.close()
        self.leases_db.close()


class Worker(Station):
    """Works on threads and destinations. `more` are settings."""

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        *,
        model: ScriptedModel | None = None,
        adapter: NoteAdapter | None = None,
        ports: Mapping[str, Adapter] | None = None,
        tools: Mapping[str, Any] | None = None,
        delivers: bool = True,
        name: str = "worker",
        **more: Any,
    ) -> None:
        super().__init__(database_url, redis_url, name, more)
        self.model = model or ScriptedModel()
        self.adapter = adapter or NoteAdapter()
        self.models_named: list[str | None] = []
        self.tools = tools_of(self.db, tools or {}, self.settings.builtin_tools, self.settings.policy)
        known: dict[str, Adapter] = {self.adapter.name: self.adapter, **(ports or {})}
        limits = RateLimits(redis_url)
        self.outbox = Outbox(
            self.db,
            self.keeper,
            lambda name: known.get(name, self.adapter),
            self.settings.delivery,
            self.draining,
            RateLimits(redis_url),
        )
        self.services = TurnServices(
            current=lambda: self.settings,
            db=self.db,
            keeper=self.keeper,
            wakes=self.wakes,
            adapters=known,
            persona=self.persona,
            publish_draft=lambda *_: None,
            deliver=self.deliver if delivers else lambda _: None,
            limits=limits,
            admit=self.admit,
            pace=Pace(),
            draining=self.draining,
        )
        self.desk = Desk(self.db, self.wakes, self.settings, known)
        self.sweeper = Sweeper(
            self.db,
            self.keeper,
            self.wakes,
            every=self.settings.lease.sweep,
            chores=[lambda: lapse(self.desk), self.admit],
        )

    def say(self, text: str = "hello", thread: str = "t", **columns: Any) -> Accepted:
        return say(self.db, text, thread, **columns)

    def advance(self, thread: UUID) -> None:
        advance(self.services, thread)

    def deliver(self, destination: UUID) -> None:
        deliver(self.outbox, destination)

    def persona(self, agent: str, model: str | None = None) -> Persona:
        self.models_named.append(model)
        return Persona(self.model, self.tools, lambda blocks: "\n".join(f"{k}: {v}" for k, v in blocks.items()))

    def admit(self) -> int:
        """Start the runs of jobs that there is room for."""
        return admit(self.admission)

    @property
    def admission(self) -> Admission:
        return Admission(self.db, self.wakes, self.services.adapters, self.settings.jobs)

    def cancel(self, turn: UUID, who: str = "eve") -> UUID | None:
        """The thread to be woken."""
        done = cancel(self.db, turn, who, adapters=self.services.adapters, texts=self.settings.messages)
        return done.thread if done else None


class Runner(Station):
    """Works on sandboxes; registered, and with slots made. `more` are settings."""

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        *,
        runtime: NoteRuntime | None = None,
        runner_id: str = "r1",
        workspace: str | None = None,
        slots: int = 12,
        side_by_side: int = 1,
        name: str = "runner",
        **more: Any,
    ) -> None:
        super().__init__(database_url, redis_url, f"{name} {runner_id}", more)
        self.runtime = runtime or NoteRuntime()
        self.id = runner_id
        self.place = Place(runner_id, workspace, slots, side_by_side, self.settings.lease.ttl)
        self.warm = Warm()
        self.host = Host(
            db=self.db,
            keeper=self.keeper,
            wakes=self.wakes,
            runtimes={self.runtime.name: self.runtime},
            warm=self.warm,
            place=lambda _: self.place,
            limits=Limits(10.0, 1000),
            draining=self.draining,
        )
        calls.seed_slots(self.db, slots)
        runners.register(
            self.db,
            runner=runner_id,
            instance=self.name,
            runtimes=[self.runtime.name],
            capacity=4,
            workspace=workspace,
        )

    def work(self, sandbox: UUID) -> None:
        work(self.host, self.runtime.name, sandbox)


def inbound(text: str = "hello", thread: str = "t", **columns: Any) -> Inbound:
    """A message whose reply goes to the destination named like its thread."""
    row = {"agent": "default", "adapter": "note", "key": thread, "channel": thread, "actor": "ada", "text": text}
    return Inbound(**{**row, "event_key": uuid.uuid4().hex, "reply": {"to": thread}, **columns})


def say(db: Database, text: str = "hello", thread: str = "t", **columns: Any) -> Accepted:
    return accept(db, inbound(text, thread, **columns))
