"""A Celery worker in this process, with the options that heyfleet needs."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Sequence

import structlog
from celery import Celery, signals
from celery.exceptions import SecurityWarning
from kombu.transport import TRANSPORT_ALIASES

from app.errors import Transient
from app.wake_transport import WAKE_TRANSPORT

log = structlog.get_logger()

SOCKET = "redis+socket:"


def run_celery(app: Celery, *, name: str, queues: Sequence[str], threads: int) -> None:
    """Consume until SIGTERM or SIGINT (warm: running tasks end first)."""

    # Connecting to this signal keeps Celery from setting up logging of its own.
    # https://docs.celeryq.dev/en/stable/userguide/signals.html#setup-logging
    @signals.setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]
    def keep_ours(**_: object) -> None:
        log.debug("celery_logging_left_alone")

    choose_transport(app)
    # Celery warns of root because pickled messages could run anything; ours are JSON only.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    worker = app.Worker(
        # Threads: a turn mostly waits on its model, and one event loop serves all of a process's requests.
        pool_cls="threads",
        concurrency=threads,
        queues=list(queues),
        # A name for each process: of two workers of one name, Celery's remote control knows only one.
        hostname=f"{name}-{os.getpid()}@{socket.gethostname()}",
        # Both have been seen to stop workers from consuming after a reconnect (celery#8030, celery#8091).
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    if worker.exitcode:
        raise Transient(f"the Celery worker ended with {worker.exitcode}")


def choose_transport(app: Celery) -> None:
    """Only where messages are fetched: Flower knows what it may show by the name of the transport."""
    url = app.conf.broker_url
    if url.startswith(SOCKET):
        # What stands before the + is what kombu takes, whatever else is said.
        TRANSPORT_ALIASES["wakes"] = WAKE_TRANSPORT
        app.conf.broker_url = f"wakes+{url.removeprefix('redis+')}"
    else:
        app.conf.broker_transport = WAKE_TRANSPORT
