"""What `heyfleet doctor` asks Postgres, Redis and the fleet's processes, and looks at on this machine."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.exceptions import RedisError

from app import processes
from app.cli.findings import Finding
from app.config.settings import Settings
from app.db import Database
from app.errors import HeyfleetError, Permanent
from app.leader import leader
from app.revisions import pending
from app.services.addresses import Addresses
from app.tracing import check, url_of

OLDEST_POSTGRES = 14
OLDEST_REDIS = 6
LEAST_FREE = 1_000_000_000
"""Bytes. A Postgres whose disk is full stops."""
CLOCKS_APART = 5.0
"""Seconds. Leases go by Postgres's clock alone; signatures of providers, and what people read, go by each machine's."""
WANTED = {"worker": "no turn is worked on", "beat": "no job is fired", "runner": "no command is run"}


def postgres(addresses: Addresses) -> Iterator[Finding]:
    db = Database(addresses.database_url, name="cli", pool_size=1)
    try:
        if pending(db):
            yield Finding("postgres", "error", "migrations are pending: run heyfleet db migrate")
            return
        row = db.rows("SELECT current_setting('server_version_num')::int / 10000 AS major, extract(epoch FROM now())")[
            0
        ]
        apart = abs(float(row[1]) - time.time())
        yield from of_processes(db)
    except HeyfleetError as error:
        yield Finding(
            "postgres", "error", f"{error.message}: {error.detail.strip()}; start it, or correct database_url"
        )
        return
    finally:
        db.close()
    if row.major < OLDEST_POSTGRES:
        yield Finding("postgres", "error", f"is version {row.major}: {OLDEST_POSTGRES} or newer is needed")
    else:
        yield Finding("postgres", "ok", f"reachable and up to date (version {row.major})")
    if apart > CLOCKS_APART:
        said = f"this machine's clock and Postgres's are {apart:.0f} s apart"
        yield Finding("clock", "warning", f"{said}: signatures of providers may be refused; run NTP")
    else:
        yield Finding("clock", "ok", "goes with Postgres's")


def of_processes(db: Database) -> Iterator[Finding]:
    found = processes.listed(db)
    working = Counter(row.kind for row in found if row.state == "works")
    for row in found:
        if row.state == "stuck":
            yield Finding("processes", "error", f"{row.kind} {row.pid} on {row.host}: {row.problem}")
        elif row.state == "gone":
            said = f"{row.kind} {row.pid} on {row.host} has said nothing since {row.heartbeat_at:%H:%M:%S}"
            yield Finding("processes", "warning", f"{said}: it was killed, or its machine is away")
    for kind, what in WANTED.items():
        if not working[kind]:
            yield Finding("processes", "warning", f"no {kind} is running, so that {what}: start one")
    if working:
        said = ", ".join(f"{number} {kind}" for kind, number in sorted(working.items()))
        yield Finding("processes", "ok", f"at work: {said}")


def redis_server(addresses: Addresses) -> Iterator[Finding]:
    client = redis.Redis.from_url(addresses.redis_url, socket_timeout=2, socket_connect_timeout=2)
    try:
        major = int(re.match(r"\d+", str(client.info("server").get("redis_version", "0")))[0])  # type: ignore[index]
        went_round(client)
    except RedisError as error:
        yield Finding("redis", "error", f"out of reach: {error}; start it, or correct redis_url")
        return
    try:
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    except RedisError:
        policy = None  # a managed one, which lets nobody ask
    if major < OLDEST_REDIS:
        yield Finding("redis", "error", f"is version {major}: {OLDEST_REDIS} or newer is needed")
    elif policy not in (None, "noeviction"):
        yield Finding("redis", "warning", "set maxmemory-policy to noeviction: eviction breaks Celery's queues")
    else:
        yield Finding("redis", "ok", f"reachable, and takes and gives messages (version {major})")


def went_round(client: redis.Redis) -> None:
    """A message goes into a list and comes out of it again, as Celery's do. Raises RedisError."""
    queue, message = f"heyfleet:doctor:{secrets.token_hex(8)}", secrets.token_bytes(8)
    try:
        client.lpush(queue, message)
        if client.brpop([queue], timeout=2) is None:
            raise RedisError("a message that was sent did not come out again")
    finally:
        client.delete(queue)


def beat(settings: Settings, addresses: Addresses) -> Iterator[Finding]:
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


def collector(settings: Settings) -> Iterator[Finding]:
    """Of traces, where one is configured: does it take an empty batch?"""
    tracing = settings.tracing
    if tracing.endpoint is None:
        return
    try:
        check(tracing)
    except Permanent as error:
        yield Finding("tracing", "error", error.message)
        return
    import httpx2 as httpx  # noqa: PLC0415 (the other verbs do without it)

    headers = {name: value.get_secret_value() for name, value in tracing.headers.items()}
    try:
        answer = httpx.post(
            url_of(tracing.endpoint), headers={**headers, "Content-Type": "application/x-protobuf"}, timeout=3
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = f"{tracing.endpoint} is out of reach ({type(error).__name__}), so that traces are lost"
        yield Finding("tracing", "warning", f"{said}: start the collector, or correct tracing.endpoint")
        return
    if answer.status_code in (401, 403):
        yield Finding("tracing", "error", f"the collector refuses us ({answer.status_code}): correct tracing.headers")
    elif not answer.is_success:
        said = f"{tracing.endpoint} answers {answer.status_code}: it must take OTLP over HTTP (port 4318, by custom)"
        yield Finding("tracing", "error", said)
    else:
        yield Finding("tracing", "ok", f"the collector takes traces, of {tracing.sample:.0%} of the messages")


def machine(settings: Settings) -> Iterator[Finding]:
    """Disk, and who may read what is ours alone."""
    folder = settings.state_dir
    if not folder.exists():
        yield Finding("state_dir", "ok", f"{folder} is made at the first start")
        return
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        said = f"{free // 1_000_000} MB are free where {folder} is: make room, or the embedded servers stop"
        yield Finding("disk", "warning", said)
    else:
        yield Finding("disk", "ok", f"{free // 1_000_000_000} GB are free where {folder} is")
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("state_dir", "error", f"{folder} can't be written to: give it to the user that runs heyfleet")
        return
    open_to_others = [path for path in (folder, folder / "secrets") if path.exists() and path.stat().st_mode & 0o077]
    if open_to_others:
        yield Finding("state_dir", "warning", f"others may look into {shown(open_to_others)}: chmod go= it")
    else:
        yield Finding("state_dir", "ok", f"{folder} is ours alone")


def shown(paths: list[Path]) -> str:
    return " and ".join(map(str, paths))
