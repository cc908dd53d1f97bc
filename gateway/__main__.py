"""`python -m gateway`: start it anywhere, any number of times. One leads for each connection that must be single."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

import structlog

from app import meters, tracing
from app.bootstrap import Core, core, keeper_of, taking
from app.config.adapters import Adapter as AdapterSettings
from app.config.adapters import DiscordAdapter as DiscordSettings
from app.config.adapters import OtherAdapter as OtherSettings
from app.config.adapters import SlackAdapter as SlackSettings
from app.config.adapters import TelegramAdapter as TelegramSettings
from app.config.load import Loaded, load
from app.config.settings import Settings
from app.config.watch import LiveSettings
from app.hearing import Listening
from app.leases import Keeper
from app.log import configure
from app.ports import Adapter
from app.probe import Probe
from app.processes import Presence
from app.report import report_errors
from app.revisions import missing
from app.roles import RoleHolder
from app.services.addresses import Addresses, wait_for
from app.starting import exit_code

if TYPE_CHECKING:
    from app.adapters.discord import DiscordAdapter
    from app.adapters.slack import SlackAdapter
    from app.adapters.telegram import TelegramAdapter

log = structlog.get_logger()

CONNECTIONS = 6
IDLE = "import signal; signal.sigwait({signal.SIGTERM, signal.SIGINT})"


class Connection(Protocol):
    """What a gateway holds for one adapter."""

    def start(self) -> None: ...

    def stop(self) -> None:
        """Tell it to end; returns at once."""
        ...

    def close(self) -> None:
        """Wait for its end."""
        ...

    def problem(self) -> str | None:
        """Why nothing comes over it, though this process should hold it; None where it stands by, or all is well."""
        ...


def main(arguments: list[str]) -> int:
    if arguments:
        sys.stderr.write("usage: python -m gateway\n")
        return 2
    return exit_code("gateway", run)


def run() -> None:
    loaded = load()
    settings = loaded.settings
    configure(settings.log.level, settings.log.format, "gateway")
    if not any(needs_gateway(adapter) for adapter in settings.adapters):
        idle(settings)
    report_errors(settings, "gateway")
    meters.begin(settings.state_dir)
    tracing.begin(settings.tracing, "gateway")
    hold(loaded, wait_for(settings, also=lambda found: missing(found.database_url)))


def needs_gateway(adapter: object) -> bool:
    match adapter:
        case SlackSettings(mode="socket") | TelegramSettings(mode="polling") | DiscordSettings() | OtherSettings():
            return True
        case _:
            return False


def idle(settings: Settings) -> None:
    """Nothing is to be held: stay, as whoever started this expects; with next to no memory, unless it is probed."""
    log.info(
        "gateway_idle", why="no adapter needs one: discord, slack with mode: socket and telegram with mode: polling do"
    )
    sys.stderr.flush()
    # Waited for rather than handled: the first process of a container ignores what it has no handler for.
    # https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    if settings.health.port is not None:
        Probe(settings.health, "gateway", lambda: None, meters.text).start()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        sys.exit(0)
    os.execv(sys.executable, [sys.executable, "-S", "-E", "-c", IDLE])  # noqa: S606 (ourselves)


def hold(loaded: Loaded, addresses: Addresses) -> None:
    """Hold the connections until told to stop."""
    live = LiveSettings(loaded)
    base = core(live.get, addresses.database_url, addresses.redis_url, "gateway", pool_size=CONNECTIONS)
    keeper = keeper_of(loaded.settings, addresses.database_url, "gateway")
    connections = connections_of(base, keeper, loaded.settings)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    signal.signal(signal.SIGHUP, lambda *_: live.reload())
    keeper.start()
    for connection in connections:
        connection.start()
    with told_of(loaded.settings, base, connections):
        stopped.wait()
    end(connections)
    keeper.close()
    base.close()


def end(connections: Sequence[Connection]) -> None:
    """All are told first: one after the other, they would take longer than whoever stops us waits."""
    for connection in connections:
        connection.stop()
    for connection in connections:
        connection.close()


@contextmanager
def told_of(settings: Settings, base: Core, connections: Sequence[Connection]) -> Iterator[None]:
    """The fleet and whoever probes it are told of this process, and of what is wrong with its connections."""

    def problem() -> str | None:
        return "; ".join(filter(None, (connection.problem() for connection in connections))) or None

    presence = Presence(base.db, "gateway", problem)
    probe = Probe(settings.health, "gateway", problem, meters.text)
    probe.start()
    presence.start()
    try:
        yield
    finally:
        presence.close()
        probe.close()


def connections_of(base: Core, keeper: Keeper, settings: Settings) -> list[Connection]:
    return [
        connection
        for one in settings.adapters
        if needs_gateway(one)
        for connection in connections_to(base, keeper, base.adapters[one.name], one)
    ]


def connections_to(base: Core, keeper: Keeper, adapter: Adapter, settings: AdapterSettings) -> Iterator[Connection]:
    """Loaded where it is configured, as the adapters themselves are."""
    match settings.kind:
        case _ if isinstance(settings, OtherSettings):
            if isinstance(adapter, Listening):
                work = partial(adapter.listen, taking(base, settings))
                yield RoleHolder(base.db, keeper, f"{settings.kind} {settings.name}", work)
        case "slack":
            from gateway.slack import SlackSocket

            yield SlackSocket(base, cast("SlackAdapter", adapter))
        case "telegram":
            from gateway.telegram import TelegramPoller

            yield TelegramPoller(base, keeper, cast("TelegramAdapter", adapter))
        case "discord":
            from gateway.discord import DiscordShard

            discord = cast("DiscordAdapter", adapter)
            for shard in range(discord.settings.shards):
                yield DiscordShard(base, keeper, discord, shard)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
