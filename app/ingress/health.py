"""Is the process alive, are the parts that it stands on there, and figures for Prometheus."""

from __future__ import annotations

from importlib.metadata import version

import redis
from flask import Blueprint, Response, current_app, jsonify, request
from redis.exceptions import RedisError
from sqlalchemy.exc import ProgrammingError

from app import meters
from app.bootstrap import Core
from app.errors import HeyfleetError
from app.processes import troubles
from app.revisions import pending

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> tuple[Response, int]:
    return jsonify(status="healthy", version=version("heyfleet")), 200


@blueprint.get("/ready")
def ready() -> tuple[Response, int]:
    """200 only where messages can be accepted and worked on; each part says what is wrong with it.

    With `?for=accepting` only what it takes to accept them is asked about: what a load balancer wants to know, since
    messages are kept while Redis or the workers are away.
    """
    core: Core = current_app.extensions["heyfleet"]
    parts = {"postgres": postgres_state(core)}
    if request.args.get("for") != "accepting":
        parts["redis"] = redis_state(current_app.extensions["heyfleet_redis"])
        parts["processes"] = processes_state(core)
    good = all(state == "ok" for state in parts.values())
    return jsonify(ready=good, **parts), 200 if good else 503


@blueprint.get("/metrics")
def metrics() -> Response:
    media_type, body = meters.text(current_app.extensions["heyfleet_fleet"])
    return Response(body, content_type=media_type)


def postgres_state(core: Core) -> str:
    try:
        return "migrations are pending: run heyfleet db migrate" if pending(core.db) else "ok"
    except HeyfleetError as error:
        return error.message


def processes_state(core: Core) -> str:
    """What is wrong with processes that live. Ones that are not there are no fault: they may be being started."""
    try:
        return "; ".join(troubles(core.db)) or "ok"
    except HeyfleetError:
        return "unknown: Postgres does not tell"
    except ProgrammingError:
        return "unknown: migrations are pending"


def redis_state(client: redis.Redis) -> str:
    try:
        client.ping()
    except RedisError as error:
        return f"out of reach: {type(error).__name__}"
    return "ok"
