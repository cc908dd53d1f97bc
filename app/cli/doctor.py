"""`heyfleet doctor`: what is wrong with this set-up, and the cure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from threading import Event
from typing import Annotated

import typer

from app.agent.folder import asking_tools, load_agent
from app.cli.checks_of_adapters import gateway, of_adapters
from app.cli.checks_of_servers import beat, collector, machine, postgres, redis_server
from app.cli.context import AsJson
from app.cli.findings import Finding, tell
from app.config.load import Loaded
from app.config.risks import risks
from app.config.settings import Settings
from app.errors import ConfigError, HeyfleetError
from app.llm.registry import Models
from app.log import configure
from app.policy.patterns import patterns_of
from app.ports import Prompt, UserText
from app.runtimes.registry import open_runtimes
from app.services.addresses import resolve

Boot = Annotated[bool, typer.Option("--boot", help="Ask each agent's model a small question too; it may cost a cent.")]


def doctor(context: typer.Context, boot: Boot = False, as_json: AsJson = False) -> None:
    """Look for what is wrong, and name the cure; exit code 1 where something is.

    Configuration, agents, runtimes, chat providers, Postgres, Redis, the fleet's processes, traces, this machine;
    with --boot the models' credentials.
    """
    configure("error", "console", "cli")
    tell(examine(context.obj.loaded, boot=boot), as_json=as_json)


def examine(read: Callable[[], Loaded], *, boot: bool = False) -> list[Finding]:
    try:
        loaded = read()
    except ConfigError as error:
        return [Finding("config", "error", problem) for problem in error.problems]
    settings = loaded.settings
    found = [Finding("config", "ok", "read without an error"), *agents(settings), *runtimes(settings), *risky(settings)]
    found += [*of_adapters(settings), *machine(settings), *collector(settings)]
    if boot:
        found += models(loaded)
    try:
        addresses = resolve(settings)
    except HeyfleetError as error:
        return [*found, Finding("services", "error", error.message)]
    of_database = list(postgres(addresses))
    found += [*of_database, *redis_server(addresses), *beat(settings, addresses)]
    # Without its tables nobody can hold anything.
    there = any((finding.what, finding.level) == ("postgres", "ok") for finding in of_database)
    return [*found, *gateway(settings)] if there else found


def agents(settings: Settings) -> list[Finding]:
    found = []
    for name, agent in settings.agents.items():
        try:
            spec = load_agent(name, agent)
        except ConfigError as error:
            found += [Finding(f"agent {name}", "error", problem) for problem in error.problems]
        else:
            found.append(Finding(f"agent {name}", "ok", f"model {spec.model}, {len(spec.tools)} tools of its own"))
    return found


def runtimes(settings: Settings) -> list[Finding]:
    names = list(settings.runner.runtimes or [settings.runtime.name])
    try:
        open_runtimes(names, settings.runtime, patterns_of(settings.policy))
    except HeyfleetError as error:
        return [Finding("runtime", "error", error.message)]
    return [Finding("runtime", "ok", f"{', '.join(names)} can run here")]


def risky(settings: Settings) -> list[Finding]:
    confirmed: dict[str, list[str]] = {}
    for name, agent in settings.agents.items():
        try:
            confirmed[name] = asking_tools(load_agent(name, agent))
        except ConfigError:
            continue  # told by `agents`
    return [Finding(risk.where, "warning", risk.said) for risk in risks(settings, confirmed)]


def models(loaded: Loaded) -> Iterator[Finding]:
    """Each model that an agent or a job uses is asked for one word: whether its name, its key and its account are good
    is known by nothing else."""
    os.environ.update({name: value for name, value in loaded.environ.items() if name not in os.environ})
    settings = loaded.settings
    names = {job.model for job in settings.jobs.define if job.model} | {
        agent.model for agent in settings.agents.values()
    }
    known = Models(settings)
    for name in sorted(names):
        asked = Prompt(system="Answer with one word.", transcript=(), new=[UserText("Are you there?")], tools=())
        try:
            answer = known.get(name).ask(asked, cancel=Event())
        except HeyfleetError as error:
            yield Finding(f"model {name}", "error", f"{error.message} {error.detail}".strip())
        else:
            yield Finding(f"model {name}", "ok", f"answers (as {answer.model or name})")
