"""The runner process: sandboxes and the calls that run in them."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from uuid import UUID

import structlog
from celery import Celery, signals

from app import runners
from app.config.load import Loaded
from app.config.settings import Settings
from app.errors import HeyfleetError, Permanent
from app.hosting.lane import work
from app.process import RunnerServices, runner_services
from app.queue import SANDBOX_TASK, make_app, runtime_queue
from workers.celery_process import run_celery
from workers.consuming import Consuming
from workers.showing import shown

log = structlog.get_logger()


def run(loaded: Loaded, database_url: str, redis_url: str) -> None:
    """Work until told to stop. Raises Permanent where a runner of this id runs already, or a runtime can't."""
    settings = loaded.settings
    services = runner_services(loaded, database_url, redis_url)
    with only_one(settings, services.runner):
        app = make_app(redis_url)
        consuming = Consuming(settings.runner.threads, draining=services.host.draining)
        register(app, services, consuming)
        drain_on_stop(services)
        beat(services)
        services.start()
        queues = [
            queue for name in services.runtimes for queue in (runtime_queue(name), runtime_queue(name, services.runner))
        ]
        try:
            with shown(settings, services.core.db, "runner", consuming, redis_url):
                run_celery(app, name=services.runner, queues=queues, threads=settings.runner.threads)
        finally:
            services.close()


class only_one:  # noqa: N801 (used as a statement)
    """A lock file of this runner's id, held for as long as the process lives; the kernel lets go of it by itself."""

    def __init__(self, settings: Settings, runner: str) -> None:
        self.path = settings.state_dir / f"runner-{runner}.lock"
        self.runner = runner

    def __enter__(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self.descriptor)
            raise Permanent(
                f"a runner with the id {self.runner} runs on this machine already; "
                "set runner.id (HEYFLEET_RUNNER__ID) to run a second one"
            ) from error

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


def register(app: Celery, services: RunnerServices, consuming: Consuming) -> None:
    @app.task(name=SANDBOX_TASK, bind=True)  # type: ignore[untyped-decorator]
    def sandbox(task: object, lane: str) -> None:
        if services.host.draining.is_set():
            return  # the wake is not lost: the lane still has its work, and the sweeper sees it
        queue = task.request.delivery_info["routing_key"]  # type: ignore[attr-defined]
        runtime = queue.removeprefix("runtime.").partition("@")[0]
        try:
            with consuming.at_work():
                work(services.host, runtime, UUID(lane))
        except HeyfleetError as error:
            log.warning("wake_came_to_nothing", lane=lane, error=error.message, detail=error.detail)


def beat(services: RunnerServices) -> None:
    """Say with each renewal of the leases that the runner lives; end when another process took its id."""

    def heartbeat() -> None:
        if not runners.heartbeat(services.keeper.db, services.runner, services.instance):
            log.error("runner_replaced", runner=services.runner, cure="give each runner process an id of its own")
            services.keeper.stop_all()
            os.kill(os.getpid(), signal.SIGTERM)

    services.keeper.on_beat.append(heartbeat)


def drain_on_stop(services: RunnerServices) -> None:
    """On SIGTERM: no new calls; running ones may end, and are cut short after `drain`."""

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def drain(**_: object) -> None:
        if services.host.draining.is_set():
            return
        log.info("draining", seconds=services.core.settings.drain, lanes=len(services.keeper.held()))
        services.host.draining.set()
        timer = threading.Timer(services.core.settings.drain, services.keeper.stop_all)
        timer.daemon = True
        timer.start()
