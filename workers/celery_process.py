"""A Celery worker in this process, with the options that heyfleet needs."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import structlog
from celery import Celery, signals

log = structlog.get_logger()


def run_celery(app: Celery, *, name: str, queues: Sequence[str], threads: int) -> None:
    """Consume until SIGTERM or SIGINT (warm: running tasks end first)."""

    # Connecting to this signal keeps Celery from setting up logging of its own.
    # https://docs.celeryq.dev/en/stable/userguide/signals.html#setup-logging
    @signals.setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]
    def keep_ours(**_: object) -> None:
        log.debug("celery_logging_left_alone")

    app.worker_main(
        [
            "worker",
            # Threads: a turn mostly waits on its model, and one event loop serves all of a process's requests.
            "--pool=threads",
            f"--concurrency={threads}",
            f"--queues={','.join(queues)}",
            f"--hostname={name}@{socket.gethostname()}",
            # Both have been seen to stop workers from consuming after a reconnect (celery#8030, celery#8091).
            "--without-gossip",
            "--without-mingle",
        ]
    )
