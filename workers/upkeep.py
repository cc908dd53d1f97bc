"""What beat sends for the fleet's upkeep."""

from __future__ import annotations

import structlog
from celery import Celery

from app.errors import HeyfleetError
from app.process import WorkerServices
from app.queue import PRUNE_TASK
from app.retention import prune

log = structlog.get_logger()


def register_upkeep(app: Celery, services: WorkerServices) -> None:
    @app.task(name=PRUNE_TASK)  # type: ignore[untyped-decorator]
    def prune_old() -> None:
        try:
            gone = prune(services.core.db, services.core.settings.retention)
        except HeyfleetError as error:
            log.warning("not_pruned", error=error.message, detail=error.detail)
        else:
            log.info("pruned", **gone)
