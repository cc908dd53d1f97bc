"""The services of a worker process and of a runner process, put together."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from app import calls, runners
from app.agent.folder import asking_tools
from app.agent.prompt import system_prompt
from app.agent.watch import LiveAgents
from app.alarms import Alarms
from app.bootstrap import Core, Drafts, admission_of, core, desk_of, keeper_of, warn_of
from app.calls import Place
from app.config.load import Loaded
from app.config.settings import Settings
from app.config.watch import LiveSettings
from app.control.desk import lapse
from app.db import Database
from app.deliveries import Outbox, deliver
from app.errors import HeyfleetError, Permanent
from app.hosting.lane import Host
from app.hosting.operations import Limits
from app.hosting.warm import Warm
from app.jobs.admitting import admit, tidy
from app.leases import Keeper
from app.llm.registry import Models
from app.policy.patterns import patterns_of
from app.rate_limits import RateLimits
from app.runtimes.registry import open_runtimes, workspace_id
from app.sweep import Sweeper
from app.tools.registry import tools_of
from app.turns.pace import Pace
from app.turns.services import Persona, TurnServices, Unconfigured

log = structlog.get_logger()

# Turns wait for their models without a connection; this many are at their statements at once.
WORKER_CONNECTIONS = 12
RUNNER_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """What a worker process works with."""

    core: Core
    keeper: Keeper
    sweeper: Sweeper
    turns: TurnServices
    outbox: Outbox
    personas: Personas
    draining: threading.Event
    alarms: Alarms

    def start(self) -> None:
        self.keeper.start()
        self.sweeper.start()

    def close(self) -> None:
        self.alarms.close()
        self.sweeper.close()
        self.keeper.close()
        self.core.close()


class Personas:
    """The agents as they are now, with their models and tools."""

    def __init__(self, live: LiveSettings, db: Database) -> None:
        self.live = live
        self.db = db
        self._made: tuple[Settings, LiveAgents, Models] | None = None

    def get(self, agent_id: str, model: str | None = None) -> Persona:
        """The agent, with another model than its own where one is named.

        Raises Refused for an agent that isn't configured, ConfigError where its folder was never any good.
        """
        settings, agents, models = self._parts()
        spec = agents.get(agent_id)
        tools = tools_of(self.db, spec.tools, settings.builtin_tools, settings.policy)
        specs = [tool.spec for tool in tools.values()]
        return Persona(models.get(model or spec.model), tools, lambda context: system_prompt(spec, specs, context))

    def prepare(self) -> None:
        """Load what the agents need before their first turn: a model's library takes a second or two."""
        settings, agents, models = self._parts()
        for agent_id in settings.agents:
            try:
                models.get(agents.get(agent_id).model).prepare()
            except HeyfleetError as error:
                # Each turn of this agent will say so to its sender.
                log.error("agent_not_ready", agent=agent_id, error=error.message)

    def warn(self) -> None:
        """Say what is risky in how people are asked, and where commands run."""
        settings, agents, _ = self._parts()
        confirmed: dict[str, list[str]] = {}
        for agent_id in settings.agents:
            try:
                confirmed[agent_id] = asking_tools(agents.get(agent_id))
            except HeyfleetError:
                continue  # told by `prepare`
        warn_of(settings, confirmed, "worker")

    def reload(self) -> None:
        """Read heyfleet.yaml and every agent folder anew at their next use."""
        self.live.reload()
        if self._made is not None:
            self._made[1].reload()

    def _parts(self) -> tuple[Settings, LiveAgents, Models]:
        settings, made = self.live.get(), self._made
        if made is None or made[0] is not settings:
            # The agents' last good readings are kept where their own settings did not change.
            same = made is not None and (made[0].agents, made[0].watch) == (settings.agents, settings.watch)
            agents = made[1] if made is not None and same else LiveAgents(settings)
            # Two threads may both make them once; either is as good.
            made = self._made = (settings, agents, Models(settings))
        return made


def worker_services(loaded: Loaded, database_url: str, redis_url: str) -> WorkerServices:
    """The services of a worker process."""
    settings = loaded.settings
    live = LiveSettings(loaded)
    base = core(live.get, database_url, redis_url, "worker", pool_size=WORKER_CONNECTIONS)
    keeper = keeper_of(settings, database_url, "worker")
    draining = threading.Event()
    personas = Personas(live, base.db)
    alarms = Alarms(base.wakes.destination)
    outbox = Outbox(
        base.db,
        keeper,
        lambda name: base.adapters.get(name) or Unconfigured(name),
        settings.delivery,
        draining,
        RateLimits(redis_url),
        later=alarms.set,
    )
    turns = TurnServices(
        current=live.get,
        db=base.db,
        keeper=keeper,
        wakes=base.wakes,
        adapters=base.adapters,
        persona=personas.get,
        publish_draft=Drafts(redis_url).publish,
        deliver=lambda destination: deliver(outbox, destination),
        limits=outbox.limits,
        admit=lambda: admit(admission_of(base)),
        pace=Pace(),
        draining=draining,
    )

    def lapse_due() -> None:
        lapse(desk_of(base))

    def tidy_runs() -> None:
        tidy(admission_of(base))

    sweeper = Sweeper(
        base.db, keeper, base.wakes, every=settings.lease.sweep, chores=[lapse_due, turns.admit, tidy_runs]
    )
    return WorkerServices(base, keeper, sweeper, turns, outbox, personas, draining, alarms)


@dataclass(frozen=True, slots=True)
class RunnerServices:
    """What a runner process works with."""

    core: Core
    keeper: Keeper
    host: Host
    runner: str
    instance: str
    runtimes: Sequence[str]
    workspace: str | None

    def start(self) -> None:
        calls.seed_slots(self.core.db, self.core.settings.runtime.max_concurrent)
        runners.register(
            self.core.db,
            runner=self.runner,
            instance=self.instance,
            runtimes=self.runtimes,
            capacity=self.core.settings.runner.threads,
            workspace=self.workspace,
        )
        self.keeper.start()

    def close(self) -> None:
        runners.stopped(self.core.db, self.runner, self.instance)
        self.keeper.close()
        self.host.warm.close()
        self.core.close()


def runner_services(loaded: Loaded, database_url: str, redis_url: str) -> RunnerServices:
    """The services of a runner process. Raises Permanent where this machine can't offer a runtime, with the cure."""
    settings = loaded.settings
    names = list(settings.runner.runtimes or [settings.runtime.name])
    runtimes = open_runtimes(names, settings.runtime, patterns_of(settings.policy))
    folder = any(not runtime.portable for runtime in runtimes.values())
    workspace = workspace_id(settings.runtime.workspace) if folder else None
    base = core(lambda: settings, database_url, redis_url, "runner", pool_size=RUNNER_CONNECTIONS)
    keeper = keeper_of(settings, database_url, "runner")
    runner = settings.runner.id or kept_id(settings.state_dir / "runner-id")

    def place(runtime: str) -> Place:
        return Place(
            runner=runner,
            workspace=None if runtimes[runtime].portable else workspace,
            max_concurrent=settings.runtime.max_concurrent,
            side_by_side=settings.runtime.max_concurrent_per_chat,
            ttl=settings.lease.ttl,
        )

    host = Host(
        db=base.db,
        keeper=keeper,
        wakes=base.wakes,
        runtimes=runtimes,
        warm=Warm(),
        place=place,
        limits=Limits(settings.runtime.timeout, settings.attachments.max_bytes),
        draining=threading.Event(),
    )
    return RunnerServices(base, keeper, host, runner, secrets.token_hex(8), names, workspace)


def kept_id(path: Path) -> str:
    """This machine's runner id: made at the first start, then the same for ever."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        kept = path.read_text().strip()
        if not kept:
            raise Permanent(f"{path} is empty: delete it, and a new id is made") from None
        return kept
    with os.fdopen(descriptor, "w") as file:
        made = f"runner-{secrets.token_hex(4)}"
        file.write(made)
    return made
