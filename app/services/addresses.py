"""Where Postgres and Redis are: as configured, or as `heyfleet services` wrote down for the embedded ones."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict, cast
from urllib.parse import unquote, urlsplit

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.config.settings import Settings
from app.errors import Cancelled, ConfigError, Unavailable
from app.log import redact
from app.services.private import private_folder, read_own, write_private

EMBEDDED = "embedded"
POLL_SECONDS = 0.2
CONNECT_SECONDS = 2
POSTGRES_URL = "must be postgresql://user:password@host:port/database, or embedded"
REDIS_URL = "must be redis://:password@host:port/number, rediss://…, unix://… or embedded"

Server = Literal["postgres", "redis"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Both URLs, passwords and all."""

    database_url: str = field(repr=False)
    """`postgresql+psycopg://…`, for SQLAlchemy."""
    redis_url: str = field(repr=False)


class Recorded(TypedDict):
    """One server in `services.json`."""

    port: int | None
    url: str | None
    """None while it is not ready to be used: not started yet, or its tables are still being brought up to date."""


def resolve(settings: Settings) -> Addresses:
    """The URLs to use. Raises ConfigError for one of another kind, Unavailable where an embedded server is not up."""
    return Addresses(database_url(settings), redis_url(settings))


def database_url(settings: Settings) -> str:
    configured = settings.database_url.get_secret_value()
    url = written_down(settings, "postgres") if configured == EMBEDDED else for_sqlalchemy(configured)
    return kept_out_of_logs(url, "database_url")


def redis_url(settings: Settings) -> str:
    configured = settings.redis_url.get_secret_value()
    url = written_down(settings, "redis") if configured == EMBEDDED else for_redis(configured)
    return kept_out_of_logs(url, "redis_url")


def wait_for(
    settings: Settings,
    seconds: float = 60.0,
    say: Callable[[str], None] | None = None,
    also: Callable[[Addresses], str | None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Addresses:
    """Wait until both can be connected to, and say so (to stderr) where they can't be at once.

    `also` names what else is missing, once both are there (such as migrations), or returns None. Raises Unavailable
    after `seconds`, with the reasons and the cure, and Cancelled when `stop` says so.
    """
    until = time.monotonic() + seconds
    said = False
    while missing := what_is_missing(settings, also):
        if time.monotonic() >= until:
            names = " and ".join(missing)
            raise Unavailable(
                f"no {names} after {seconds:.0f} s: {cure(settings)}",
                detail="; ".join(f"{name}: {reason}" for name, reason in missing.items()),
            )
        if not said:
            (say or to_stderr)(f"waiting for {' and '.join(missing)} (up to {seconds:.0f} s) …")
            said = True
        if stop and stop():
            raise Cancelled("told to stop while waiting")
        time.sleep(POLL_SECONDS)  # another process starts them, perhaps on another machine; `until` ends it
    return resolve(settings)


def what_is_missing(settings: Settings, also: Callable[[Addresses], str | None] | None = None) -> dict[str, str]:
    """What can't be used now, by name, and why; empty where all is there."""
    missing: dict[str, str] = {}
    for name, url_of, problem_with in (
        ("Postgres", database_url, postgres_problem),
        ("Redis", redis_url, redis_problem),
    ):
        try:
            problem = problem_with(url_of(settings))
        except Unavailable as error:
            problem = error.message
        if problem:
            missing[name] = problem
    if not missing and also and (more := also(resolve(settings))):
        missing[more] = "not there yet"
    return missing


def postgres_problem(url: str) -> str | None:
    """Why the database can't be connected to, or None. Raises ConfigError where that is no URL."""
    try:
        psycopg.connect(
            url.replace("postgresql+psycopg://", "postgresql://", 1),
            connect_timeout=CONNECT_SECONDS,
            application_name="wait_for",
        ).close()
    except psycopg.ProgrammingError:
        # Its message quotes parts of the URL.
        raise ConfigError([f"database_url: can't be understood; {POSTGRES_URL}"]) from None
    except psycopg.Error as error:
        return str(error).strip().splitlines()[-1]
    return None


def redis_problem(url: str) -> str | None:
    """Why Redis can't be connected to, or None. Raises ConfigError where that is no URL."""
    # It would try again for seconds by default.
    retry = Retry(NoBackoff(), 0)
    try:
        client = redis.Redis.from_url(
            url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS, retry=retry
        )
    except ValueError:
        raise ConfigError([f"redis_url: can't be understood; {REDIS_URL}"]) from None
    try:
        with client:
            client.ping()
    except RedisError as error:
        return str(error)
    return None


def cure(settings: Settings) -> str:
    embedded = EMBEDDED in (settings.database_url.get_secret_value(), settings.redis_url.get_secret_value())
    return (
        "start the embedded ones with `heyfleet services` (`make start` does), or set DATABASE_URL and REDIS_URL"
        if embedded
        else "start them, or correct database_url and redis_url"
    )


def for_sqlalchemy(url: str) -> str:
    """`postgres://` and `postgresql://` with the driver that heyfleet uses."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ConfigError([f"database_url: {POSTGRES_URL}"])
    return f"postgresql+psycopg://{rest}"


def for_redis(url: str) -> str:
    if not re.match(r"(redis|rediss|unix)://", url):
        raise ConfigError([f"redis_url: {REDIS_URL}"])
    return url


def kept_out_of_logs(url: str, key: str) -> str:
    try:
        password = urlsplit(url).password
    except ValueError:
        raise ConfigError([f"{key}: can't be understood; is its host an IPv6 address without [ ]?"]) from None
    if password:
        redact(password)
        redact(unquote(password))
    return url


def written_down(settings: Settings, server: Server) -> str:
    found = recorded(settings.state_dir).get(server)
    if found is None or found["url"] is None:
        raise Unavailable(f"the embedded one is not up: {cure(settings)}")
    return found["url"]


def recorded(state_dir: Path) -> dict[Server, Recorded]:
    """What `services.json` says; empty where nothing was started yet. Raises ConfigError where it is damaged."""
    path = state_dir / "services.json"
    try:
        return cast(dict[Server, Recorded], json.loads(read_own(path)))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ConfigError([f"{path} is damaged: delete it, and start `heyfleet services` again"]) from None


def record(state_dir: Path, servers: Mapping[Server, Recorded]) -> None:
    """Write down what is embedded, readable by ourselves only."""
    private_folder(state_dir)
    write_private(state_dir / "services.json", json.dumps(servers, indent=2) + "\n")


def to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
