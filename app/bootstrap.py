"""The composition root: settings and addresses into the services of one process. No globals, nothing at import."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import assert_never
from uuid import UUID

import redis
import structlog
from redis.exceptions import RedisError

from app.config.adapters import KINDS_OF_OTHERS
from app.config.adapters import Adapter as AdapterSettings
from app.config.adapters import DiscordAdapter as DiscordSettings
from app.config.adapters import LocalAdapter as LocalSettings
from app.config.adapters import OtherAdapter as OtherSettings
from app.config.adapters import SlackAdapter as SlackSettings
from app.config.adapters import TelegramAdapter as TelegramSettings
from app.config.adapters import WebhookAdapter as WebhookSettings
from app.config.risks import risks
from app.config.settings import Settings
from app.control.desk import Desk
from app.db import Database
from app.entry import enter
from app.errors import Permanent
from app.hearing import Take
from app.jobs.admitting import Admission
from app.leases import Keeper
from app.log import redact
from app.ports import Adapter
from app.queue import Wakes

log = structlog.get_logger()

DRAFTS = "heyfleet:draft:{turn}"
"""The Redis channel on which a turn's draft is shown while its model speaks."""


@dataclass(frozen=True, slots=True)
class Core:
    """What every process has."""

    current: Callable[[], Settings]
    """The settings as they are now."""
    db: Database
    wakes: Wakes
    redis_url: str
    adapters: Mapping[str, Adapter]

    @property
    def settings(self) -> Settings:
        return self.current()

    def close(self) -> None:
        self.wakes.close()
        self.db.close()


def desk_of(core: Core) -> Desk:
    """Where orders of people are carried out."""
    return Desk(core.db, core.wakes, core.settings, core.adapters)


def taking(core: Core, adapter: OtherSettings) -> Take:
    """What an adapter of another package hands over what it hears to."""
    return lambda happening: enter(desk_of(core), adapter, happening).say


def admission_of(core: Core) -> Admission:
    """What starts the runs of jobs."""
    return Admission(core.db, core.wakes, core.adapters, core.settings.jobs)


def core(
    current: Callable[[], Settings],
    database_url: str,
    redis_url: str,
    process: str,
    *,
    pool_size: int = 10,
    patience: float = 10.0,
) -> Core:
    """The services that every process has; `process` is its name in logs and in pg_stat_activity."""
    return Core(
        current=current,
        db=Database(database_url, name=process, pool_size=pool_size, patience=patience),
        wakes=Wakes(redis_url),
        redis_url=redis_url,
        adapters=adapters_of(current()),
    )


def adapters_of(settings: Settings) -> dict[str, Adapter]:
    return {adapter.name: adapter_of(settings, adapter) for adapter in settings.adapters}


def adapter_of(settings: Settings, adapter: AdapterSettings) -> Adapter:
    """Loaded where it is configured: a fleet without Slack need not hold Slack's library in each of its processes."""
    match adapter:
        case WebhookSettings():
            from app.adapters.webhook import WebhookAdapter

            return WebhookAdapter(adapter, webhook_secrets(settings, adapter))
        case SlackSettings():
            from app.adapters.slack import SlackAdapter

            return SlackAdapter(adapter)
        case TelegramSettings():
            from app.adapters.telegram import TelegramAdapter

            return TelegramAdapter(adapter)
        case DiscordSettings():
            from app.adapters.discord import DiscordAdapter

            return DiscordAdapter(adapter)
        case LocalSettings():
            from app.adapters.local import LocalAdapter

            return LocalAdapter(adapter.name)
        case OtherSettings():
            return make_of(adapter.kind)(adapter)
        case _:
            assert_never(adapter)


def make_of(kind: str) -> Callable[[OtherSettings], Adapter]:
    """What makes adapters of a kind that another package brings. Raises Permanent, with the package's name."""
    (entry, *_) = entry_points(group=KINDS_OF_OTHERS, name=kind)
    try:
        made: Callable[[OtherSettings], Adapter] = entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist else entry.value
        raise Permanent(f"the adapter kind {kind} of {package} can't be loaded: {error!r}") from error
    return made


def webhook_secrets(settings: Settings, adapter: WebhookSettings) -> list[str]:
    """The secrets in force: those of the config, else one that is made once and kept in `state_dir`."""
    match adapter.secret:
        case None:
            return [made_secret(settings.state_dir / "secrets" / adapter.name)]
        case list() as several:
            return [secret.get_secret_value() for secret in several]
        case one:
            return [one.get_secret_value()]


def made_secret(path: Path) -> str:
    """Made by whichever process is first; a link is atomic, so that no other reads half of it."""
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first: its secret is the one
    finally:
        draft.unlink()
    found = path.read_text().strip()
    redact(found)
    return found


def warn_of(settings: Settings, confirmed: Mapping[str, Collection[str]], process: str) -> None:
    """Log the risks that are this process's to tell; see `app.config.risks`."""
    for risk in risks(settings, confirmed):
        if risk.process == process:
            log.warning("risky_setup", where=risk.where, why=risk.said)


def keeper_of(settings: Settings, database_url: str, process: str) -> Keeper:
    """The leases of this process, renewed over a connection of their own."""
    owner = f"{socket.gethostname()} {process} {os.getpid()} {secrets.token_hex(4)}"
    # Its own pool: renewals must not queue behind the work that they keep alive.
    db = Database(database_url, name=f"{process} leases", pool_size=1)
    return Keeper(db, owner, ttl=settings.lease.ttl, renew=settings.lease.renew)


class Drafts:
    """Shows what a model has said so far. Best effort: a draft that is not shown is no loss."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=0.5, socket_connect_timeout=0.5, max_connections=20
        )
        self._failed = threading.Event()

    def publish(self, turn: UUID, text: str) -> None:
        try:
            self._redis.publish(DRAFTS.format(turn=turn), text)
            self._failed.clear()
        except RedisError as error:
            if not self._failed.is_set():
                log.warning("drafts_not_shown", error=str(error))
            self._failed.set()
