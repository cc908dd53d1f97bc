"""The worker process: turns and deliveries."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable
from uuid import UUID

import structlog
from celery import Celery, signals

from app.config.load import Loaded
from app.deliveries import deliver
from app.errors import HeyfleetError
from app.process import WorkerServices, worker_services
from app.queue import DELIVERIES, DESTINATION_TASK, RUNS_TASK, THREAD_TASK, TURNS, make_app
from app.turns.advance import advance
from workers.celery_process import run_celery
from workers.consuming import Consuming
from workers.showing import shown
from workers.upkeep import register_upkeep

log = structlog.get_logger()


def run(loaded: Loaded, database_url: str, redis_url: str) -> None:
    """Work until told to stop."""
    services = worker_services(loaded, database_url, redis_url)
    app = make_app(redis_url)
    consuming = Consuming(loaded.settings.worker.threads, draining=services.draining)
    register(app, services, consuming)
    register_upkeep(app, services)
    drain_on_stop(services)
    reload_on_hangup(services)
    services.personas.prepare()
    services.personas.warn()
    collect_garbage_rarely()
    services.start()
    try:
        with shown(loaded.settings, services.core.db, "worker", consuming, redis_url):
            run_celery(app, name="worker", queues=[TURNS, DELIVERIES], threads=loaded.settings.worker.threads)
    finally:
        services.close()


def register(app: Celery, services: WorkerServices, consuming: Consuming) -> None:
    @app.task(name=THREAD_TASK)  # type: ignore[untyped-decorator]
    def thread(lane: str) -> None:
        work(lane, lambda: advance(services.turns, UUID(lane)))

    @app.task(name=RUNS_TASK)  # type: ignore[untyped-decorator]
    def runs(lane: str) -> None:
        work(lane, services.turns.admit)

    @app.task(name=DESTINATION_TASK)  # type: ignore[untyped-decorator]
    def destination(lane: str) -> None:
        work(lane, lambda: deliver(services.outbox, UUID(lane)))

    def work(lane: str, what: Callable[[], object]) -> None:
        if services.draining.is_set():
            return  # the wake is not lost: the lane still has its work, and the sweeper sees it
        try:
            with consuming.at_work():
                what()
        except HeyfleetError as error:
            # Postgres is away, or the like: the lane's lease runs out and the sweeper wakes it again.
            log.warning("wake_came_to_nothing", lane=lane, error=error.message, detail=error.detail)


def drain_on_stop(services: WorkerServices) -> None:
    """On SIGTERM: no new lanes; turns stop at their next step border, and after `drain` where they stand."""

    # Celery's warm shutdown waits for running tasks without end (soft and hard time limits are void on threads).
    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def drain(**_: object) -> None:
        if services.draining.is_set():
            return
        log.info("draining", seconds=services.core.settings.drain, lanes=len(services.keeper.held()))
        services.draining.set()
        timer = threading.Timer(services.core.settings.drain, services.keeper.stop_all)
        timer.daemon = True
        timer.start()


def reload_on_hangup(services: WorkerServices) -> None:
    """On SIGHUP: heyfleet.yaml and the agent folders are read anew."""

    # Once the worker is ready: Celery has put a handler of its own there before, which restarts the process.
    @signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def install(**_: object) -> None:
        signal.signal(signal.SIGHUP, lambda *_: services.personas.reload())


def collect_garbage_rarely() -> None:
    """What is there now stays for the life of the process; looking through it again and again cost a burst of turns a
    fifth of its CPU time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
