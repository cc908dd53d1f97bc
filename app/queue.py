"""Celery: the app, the queues' names, and wakes. A wake says only "this lane has work"; the row says what."""

from __future__ import annotations

import threading
import time
from typing import Any
from uuid import UUID

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from app import meters, tracing
from app.broker import Reconnecting, broker_of

log = structlog.get_logger()

TURNS = "turns"
DELIVERIES = "deliveries"
THREAD_TASK = "heyfleet.thread"
DESTINATION_TASK = "heyfleet.destination"
SANDBOX_TASK = "heyfleet.sandbox"
RUNS_TASK = "heyfleet.runs"
PRUNE_TASK = "heyfleet.prune"

WAKE_EXPIRES = 30
"""Seconds. The sweeper wakes again what still waits, so an old wake is only noise after a jam."""

PAUSE_AFTER_FAILURE = 1.0
"""Seconds without a try to publish after one failed: Redis being away must not hold every request up."""


def runtime_queue(runtime: str, runner: str | None = None) -> str:
    """The queue of a runtime, or a runner's own queue for it."""
    return f"runtime.{runtime}@{runner}" if runner else f"runtime.{runtime}"


def make_app(redis_url: str, *, socket_timeout: float = 30.0) -> Celery:
    """The Celery app of this process. It connects to nothing until it is used."""
    broker, tls = broker_of(redis_url)
    app = Celery("heyfleet", broker=broker, amqp=Reconnecting, set_as_current=False)
    app.conf.update(
        broker_use_ssl=tls,
        # The row holds the outcome; results in Redis would leak memory (celery#9806).
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        timezone="UTC",
        # Wakes are hints and lanes are leases: a wake that dies with its worker is sent again by the sweeper, so it is
        # acknowledged at once and never redelivered an hour later into a finished turn.
        # https://docs.celeryq.dev/en/stable/userguide/tasks.html#Task.acks_late
        task_acks_late=False,
        # With early acknowledgement the prefetch counter would reserve a second load of wakes for busy threads while
        # other workers idle; this fetches only what a thread is free for (Redis only, Celery >= 5.6).
        # https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-disable-prefetch
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # Crashes the worker on a Redis restart with -P threads: its pool has no kill_job (celery#7185).
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        # None: try for ever. The default gives up after 100 tries and leaves a worker that consumes nothing.
        broker_connection_max_retries=None,
        task_default_queue=TURNS,
        task_create_missing_queues=True,
        # We configure logging (app.log); Celery would replace the root logger's handlers.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Three more publishes for each wake. Flower switches them on while it runs.
        # https://flower.readthedocs.io/en/latest/config.html#enable-events
        worker_send_task_events=False,
        task_send_sent_event=False,
        broker_transport_options={
            # redis-py 8 allows 100 connections by default, and raises when they are taken.
            "max_connections": 1000,
            # A half-open connection after a network fault consumes nothing for ever (celery#8091, #10205).
            "socket_keepalive": True,
            "socket_timeout": socket_timeout,
            "socket_connect_timeout": min(socket_timeout, 2.0),
            "health_check_interval": 25,
            "retry_on_timeout": True,
        },
    )
    return app


class Wakes:
    """Sends wakes. Never raises: a wake that could not be sent is made up for by the sweeper."""

    def __init__(self, redis_url: str) -> None:
        # An app of its own: publishing must fail fast, while the worker's consumer waits for as long as it takes.
        self.app = make_app(redis_url, socket_timeout=0.5)
        self.app.conf.broker_transport_options = {
            **self.app.conf.broker_transport_options,
            "retry_on_timeout": False,
            # kombu otherwise retries the connection inside publish, whatever `retry` says.
            # https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.html#kombu.Connection.ensure_connection
            "max_retries": 0,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        }
        self.app.conf.broker_pool_limit = 50
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def thread(self, thread: UUID | str) -> bool:
        return self._send(THREAD_TASK, str(thread), TURNS)

    def runs(self) -> bool:
        """Runs of jobs wait to be started."""
        return self._send(RUNS_TASK, "jobs", TURNS)

    def destination(self, destination: UUID | str) -> bool:
        return self._send(DESTINATION_TASK, str(destination), DELIVERIES)

    def sandbox(self, sandbox: UUID | str, runtime: str, runner: str | None = None) -> bool:
        return self._send(SANDBOX_TASK, str(sandbox), runtime_queue(runtime, runner))

    def close(self) -> None:
        self.app.close()

    def _send(self, task: str, lane: str, queue: str) -> bool:
        if time.monotonic() < self._paused_until:
            return False
        told = {
            "messaging.system": "celery",
            "messaging.operation.type": "send",
            "messaging.operation.name": "send",
            "messaging.destination.name": queue,
        }
        try:
            with tracing.span(f"send {task}", None, told, kind="producer"):
                self._publish(task, lane, queue)
        except (OperationalError, RedisError, OSError) as error:
            with self._lock:
                self._paused_until = time.monotonic() + PAUSE_AFTER_FAILURE
            log.warning("wake_not_sent", queue=queue, lane=lane, error=str(error) or type(error).__name__)
            meters.count("wakes_total", queue=queue.partition("@")[0], outcome="failed")
            return False
        meters.count("wakes_total", queue=queue.partition("@")[0], outcome="sent")
        return True

    def _publish(self, task: str, lane: str, queue: str) -> Any:
        return self.app.send_task(
            task, args=(lane,), queue=queue, expires=WAKE_EXPIRES, ignore_result=True, retry=False
        )
