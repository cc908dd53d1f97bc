"""`heyfleet doctor`: what is wrong with this set-up, and the cure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import redis
import typer
from redis.exceptions import RedisError

from app.agent.folder import asking_tools, load_agent
from app.cli.checks_of_adapters import gateway, of_adapters
from app.cli.context import AsJson
from app.cli.findings import Finding, tell
from app.config.risks import risks
from app.config.settings import Settings
from app.db import Database
from app.errors import ConfigError, HeyfleetError
from app.leader import leader
from app.log import configure
from app.policy.patterns import patterns_of
from app.revisions import pending
from app.runtimes.registry import open_runtimes
from app.services.addresses import Addresses, resolve


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Look at configuration, agents, runtimes, chat providers, Postgres and Redis; exit code 1 where one is wrong."""
    configure("error", "console", "cli")
    tell(examine(context.obj.settings), as_json=as_json)


def examine(read: Callable[[], Settings]) -> list[Finding]:
    try:
        settings = read()
    except ConfigError as error:
        return [Finding("config", "error", problem) for problem in error.problems]
    found = [Finding("config", "ok", "read without an error"), *agents(settings), *runtimes(settings), *risky(settings)]
    found += of_adapters(settings)
    try:
        addresses = resolve(settings)
    except HeyfleetError as error:
        return [*found, Finding("services", "error", error.message)]
    database = postgres(addresses)
    found += [database, redis_server(addresses), *jobs(settings, addresses)]
    # Without its tables nobody can hold anything.
    return [*found, *gateway(settings)] if database.level == "ok" else found


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


def postgres(addresses: Addresses) -> Finding:
    db = Database(addresses.database_url, name="cli", pool_size=1)
    try:
        if pending(db):
            return Finding("postgres", "error", "migrations are pending: run heyfleet db migrate")
    except HeyfleetError as error:
        return Finding("postgres", "error", f"{error.message}: {error.detail.strip()}")
    return Finding("postgres", "ok", "reachable and up to date")


def jobs(settings: Settings, addresses: Addresses) -> Iterator[Finding]:
    """The rules of jobs are told with the configuration's."""
    count = len(settings.jobs.define)
    try:
        found = leader(redis.Redis.from_url(addresses.redis_url, socket_timeout=2, socket_connect_timeout=2))
    except RedisError:
        return  # told by `redis`
    if found is None and count:
        yield Finding("beat", "warning", f"nobody leads, so that none of the {count} jobs is fired: start a beat")
    elif found is not None:
        since = found.since.astimezone().isoformat(timespec="seconds")
        yield Finding("beat", "ok", f"{found.owner} leads since {since}, with {count} jobs")


def redis_server(addresses: Addresses) -> Finding:
    client = redis.Redis.from_url(addresses.redis_url, socket_timeout=2, socket_connect_timeout=2)
    try:
        policy = client.config_get("maxmemory-policy")
    except RedisError as error:
        return Finding("redis", "error", f"out of reach: {error}")
    if isinstance(policy, dict) and policy.get("maxmemory-policy") != "noeviction":
        return Finding("redis", "warning", "set maxmemory-policy to noeviction: eviction breaks Celery's queues")
    return Finding("redis", "ok", "reachable")
