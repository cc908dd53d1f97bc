"""`python -m beat`: start it anywhere, any number of times."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from functools import partial

import redis
import structlog
from celery import signals

from app import meters
from app.audit import encoded, event, insert_events
from app.config.load import load
from app.config.settings import Settings
from app.config.watch import LiveSettings
from app.db import Database
from app.errors import ConfigError
from app.log import configure
from app.probe import Probe
from app.processes import Presence
from app.queue import Wakes, make_app
from app.report import report_errors
from app.revisions import missing
from app.services.addresses import Addresses, wait_for
from app.starting import exit_code
from beat.jobs import JobWork
from beat.lease import AlwaysLeads, LeaderLease, Leadership, Leads, Standing
from beat.scheduler import FleetScheduler

log = structlog.get_logger()

NOTE = insert_events("(SELECT 1) AS here")

CONNECTIONS = 4
"""One looks, one fans heartbeats out, one notes who leads, one says that it lives."""

USAGE = """usage: python -m beat [--without-lease]

--without-lease: schedule whoever leads. For showing that nothing fires twice even so; it only wastes work.
"""


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--without-lease"]):
        sys.stderr.write(USAGE)
        return 2
    return exit_code("beat", lambda: run(with_lease=not arguments))


def run(*, with_lease: bool) -> None:
    """Start as every process does, and then schedule, or stand by, until told to stop."""
    loaded = load()
    settings = loaded.settings
    # Before the wait: what is edited meanwhile is seen.
    live = LiveSettings(loaded)
    configure(settings.log.level, settings.log.format, "beat")
    refuse_missing_folders(settings)
    report_errors(settings, "beat")
    meters.begin(settings.state_dir)
    schedule(live, wait_for(settings, also=lambda found: missing(found.database_url)), with_lease=with_lease)


def refuse_missing_folders(settings: Settings) -> None:
    """A beat that lacks an agent's folder would take that agent's jobs for gone. Raises ConfigError."""
    problems = [
        f"agents.{name}.path: there is no folder {agent.path}; make it, or correct the path"
        for name, agent in settings.agents.items()
        if "path" in agent.model_fields_set and not agent.path.is_dir()
    ]
    if problems:
        raise ConfigError(problems)


def folderless(settings: Settings) -> set[str]:
    """Agents whose folder is not there: taken away for a moment, or this beat was started elsewhere."""
    return {name for name, agent in settings.agents.items() if not agent.path.is_dir()}


def schedule(live: LiveSettings, addresses: Addresses, *, with_lease: bool) -> None:
    db = Database(addresses.database_url, name="beat", pool_size=CONNECTIONS)
    wakes = Wakes(addresses.redis_url)
    owner = f"{socket.gethostname()} beat {os.getpid()} {secrets.token_hex(4)}"
    leads: Leads = AlwaysLeads()
    work = JobWork(db, wakes, live.jobs, lambda: folderless(live.get()), lambda: leads.mine)

    def changed(standing: Standing) -> None:
        if standing is Standing.LOST:
            work.forget()
        tell(db, owner, standing)

    if with_lease:
        client = redis.Redis.from_url(addresses.redis_url, socket_timeout=2, socket_connect_timeout=2)
        lease = live.get().lease
        leads = Leadership(LeaderLease(client, lease.ttl, owner), lease.renew, changed)
    # Connecting to this signal keeps Celery from setting up logging of its own.
    signals.setup_logging.connect(keep_ours, weak=False)
    signal.signal(signal.SIGHUP, lambda *_: live.reload())
    leads.start(lambda: work.alive_at, lambda: work.looked_at.isoformat() if work.looked_at else "")
    work.start()
    app = make_app(addresses.redis_url)
    settings = live.get()
    probe = Probe(settings.health, "beat", work.problem, meters.text)
    presence = Presence(db, "beat", work.problem)
    probe.start()
    presence.start()
    try:
        app.Beat(scheduler_cls=partial(FleetScheduler, leads=leads, work=work), max_interval=1, quiet=True).run()
    finally:
        presence.close()
        probe.close()
        wakes.close()
        db.close()


def tell(db: Database, owner: str, standing: Standing) -> None:
    """Log who leads, and note it in the audit trail where Postgres is there."""
    kind = "beat_leads" if standing is Standing.MINE else "beat_stands_by"
    log.info(kind, lease=standing.value, owner=owner)
    noted = event(kind, trace=secrets.token_hex(16), owner=owner, lease=standing.value)
    try:
        db.rows(NOTE, events=encoded([noted]))
    except Exception as error:  # noqa: BLE001 (told)
        # Postgres is away, or takes no writes for a while: who leads is in the log as well, and it goes on.
        log.warning("not_noted", kind=kind, error=str(error))


def keep_ours(**_: object) -> None:
    """Logging is configured already."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
