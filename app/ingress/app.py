"""The Flask app: routes, and every error as one line of JSON that says what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import redis
import structlog
from flask import Blueprint, Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from app import meters, tracing
from app.bootstrap import Core, taking, webhook_secrets
from app.config.adapters import OtherAdapter, WebhookAdapter
from app.config.settings import Settings
from app.errors import Refused, Unavailable
from app.hearing import Served
from app.ingress import health, orders, webhook
from app.ingress.bodies import swallow
from app.ingress.metrics import Fleet
from app.ingress.runs import Waiting

log = structlog.get_logger()

RETRY_SOON = "1"


def create_app(core: Core) -> Flask:
    """The ingress of one process; `core` is used from many threads."""
    app = Flask("heyfleet", static_folder=None)
    settings = core.settings
    client = redis.Redis.from_url(core.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5)
    app.extensions["heyfleet"] = core
    app.extensions["heyfleet_waiting"] = Waiting(core.db, most=settings.http.threads // 2)
    app.extensions["heyfleet_fleet"] = Fleet(core.db, client)
    app.extensions["heyfleet_redis"] = client
    app.extensions["heyfleet_secrets"] = {
        adapter.name: webhook_secrets(settings, adapter)
        for adapter in settings.adapters
        if isinstance(adapter, WebhookAdapter)
    }
    measure(app)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(webhook.blueprint)
    app.register_blueprint(orders.blueprint)
    for blueprint in chat_blueprints(settings):
        app.register_blueprint(blueprint)
    for adapter in settings.adapters:
        if isinstance(adapter, OtherAdapter):
            serve_other(app, core, adapter)
    app.register_error_handler(Refused, refused)
    app.register_error_handler(Unavailable, unavailable)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, surprise)
    return app


def chat_blueprints(settings: Settings) -> Iterator[Blueprint]:
    """The routes of the providers that are configured; what they need is loaded for them alone."""
    kinds = {adapter.kind for adapter in settings.adapters}
    if "slack" in kinds:
        from app.ingress import slack

        yield slack.blueprint
    if "telegram" in kinds:
        from app.ingress import telegram

        yield telegram.blueprint
    if "discord" in kinds:
        from app.ingress import discord

        yield discord.blueprint


def serve_other(app: Flask, core: Core, adapter: OtherAdapter) -> None:
    """The routes of an adapter of another package, where its provider posts to us."""
    port = core.adapters[adapter.name]
    if isinstance(port, Served):
        blueprint = port.blueprint(taking(core, adapter))
        app.register_blueprint(blueprint, url_prefix=f"/{adapter.kind}/{adapter.name}", name=f"adapter-{adapter.name}")


def measure(app: Flask) -> None:
    @app.before_request
    def start() -> None:
        g.started = time.monotonic()
        told = {"http.request.method": request.method, "http.route": route()}
        around = tracing.entrance(f"{request.method} {route()}", told, caller=request.headers.get("traceparent"))
        g.entered = ExitStack()
        g.entrance = g.entered.enter_context(around)

    @app.after_request
    def end(response: Response) -> Response:
        if response.status_code >= 400:
            response.call_on_close(partial(swallow, request.stream, request.environ.get("gunicorn.socket")))
        if "started" not in g:
            return response  # what another package does before each request has failed
        status = str(response.status_code)
        meters.observe("request_seconds", time.monotonic() - g.started, route=route(), status=status)
        g.entrance.span.note({"http.response.status_code": response.status_code})
        if response.status_code >= 500:
            g.entrance.span.failed(status)
        return response

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        entered = g.pop("entered", None)
        if entered is not None:
            entered.close()


def route() -> str:
    """The request's pattern, not its path: a figure for each thread would grow without end."""
    return request.url_rule.rule if request.url_rule else "none"


def refused(error: Refused) -> tuple[Response, int, dict[str, str]]:
    if error.status == 401:
        # A provider does not show its users why; whoever sets it up looks here.
        log.warning("refused", path=request.path, why=error.message)
    headers = {"Retry-After": f"{error.retry_after:g}"} if error.retry_after else {}
    return problem(error.message), error.status, headers


def unavailable(error: Unavailable) -> tuple[Response, int, dict[str, str]]:
    log.warning("unavailable", error=error.message, detail=error.detail)
    return problem(f"{error.message}; try again in a moment"), 503, {"Retry-After": RETRY_SOON}


def http_error(error: HTTPException) -> tuple[Response, int]:
    return problem(error.description or error.name), error.code or 500


def surprise(error: Exception) -> tuple[Response, int]:
    # The cause goes to the log: an error page must not show what a request or a row held.
    log.exception("request_failed", path=request.path, error=type(error).__name__)
    return problem("an internal error; the log has the details"), 500


def problem(message: str) -> Any:
    return jsonify(ok=False, error=message)
