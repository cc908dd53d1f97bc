"""The webhook adapter's routes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, current_app, jsonify, request

from app.adapters.webhook.parse import Body, inbound_of, parse_body
from app.adapters.webhook.reply_rules import check_reply_url
from app.adapters.webhook.verify import verify
from app.bootstrap import desk_of
from app.clock import uuid7
from app.config.adapters import WebhookAdapter as Settings
from app.control.commands import Command, parse
from app.control.desk import Order
from app.control.obey import obey_at_once
from app.errors import Refused
from app.inbox import MANY, Accepted, accept
from app.ingress.bodies import body_bytes, core
from app.ingress.runs import Standing, Waiting, standings
from app.jsonb import storable
from app.policy.people import Person, may_enter
from app.traffic import Inbound

MOST_SECONDS = 30.0

blueprint = Blueprint("webhook", __name__)


@blueprint.post("/webhook/<name>")
@blueprint.post("/webhook/<name>/messages")
def start_or_continue(name: str) -> tuple[Response, int]:
    return take_in(name, None)


@blueprint.post("/webhook/<name>/threads/<thread>/messages")
def continue_thread(name: str, thread: str) -> tuple[Response, int]:
    return take_in(name, thread)


@blueprint.get("/webhook/<name>/threads/<thread>/runs/<run>")
def show_run(name: str, thread: str, run: str) -> tuple[Response, int]:
    found = run_of(authorised(name), thread, run)
    if not found.finished:
        found = waiting().wait(found.run, wait_seconds(), found.status) or found
    return jsonify(outcome(found)), 200


def run_of(settings: Settings, thread: str, run: str) -> Standing:
    """Raises Refused (404)."""
    run_id = uuid_of(run)
    found = standings(core().db, [run_id]).get(run_id)
    if found is None or found.adapter != settings.name or found.thread_key != thread:
        raise Refused("there is no such run in this thread", status=404)
    return found


def take_in(name: str, path_thread: str | None) -> tuple[Response, int]:
    settings = authorised(name)
    body = parse_body(body_bytes(settings.max_body_bytes))
    admit(settings, body.user)
    if body.reply_url is not None:
        check_reply_url(body.reply_url, settings)
    run = uuid7()
    command = parse(storable(body.text))
    inbound = inbound_of(body, agent=settings.agent, adapter=settings.name, run=run, path_thread=path_thread)
    if command is not None:
        return take_order(settings, body, replace(inbound, command=command.text), run, command)
    accepted = accept(
        core().db,
        inbound,
        turn_id=run,
        max_in_flight=settings.max_in_flight,
        reject_busy=core().settings.task.busy == "reject",
    )
    if not accepted.duplicate:
        core().wakes.thread(accepted.thread_id)
    return answer(body, accepted)


def take_order(settings: Settings, body: Body, inbound: Inbound, run: UUID, command: Command) -> tuple[Response, int]:
    """A control command is accepted like a message; most are carried out at once, whatever else is in flight.

    A repetition is not carried out: where the process that got it first has died, a worker does what it left undone.
    """
    most = MANY if command.at_once else settings.max_in_flight
    accepted = accept(core().db, inbound, turn_id=run, max_in_flight=most)
    if command.at_once and not accepted.duplicate:
        place = (inbound.team, inbound.channel)
        order = Order(Person(storable(body.user)), settings.name, settings.name, place)
        obey_at_once(desk_of(core()), order, command, inbound, accepted)
    elif not accepted.duplicate:
        core().wakes.thread(accepted.thread_id)
    found = standings(core().db, [accepted.turn_id]).get(accepted.turn_id)
    return (jsonify(outcome(found)), 200) if found and found.finished else answer(body, accepted)


def answer(body: Body, accepted: Accepted) -> tuple[Response, int]:
    seen = waiting().wait(accepted.turn_id, body.timeout_ms / 1000) if body.sync else None
    if seen is not None:
        return jsonify(outcome(seen)), 200 if seen.finished else 202
    running = {"ok": True, "threadId": accepted.thread_key, "runId": str(accepted.turn_id), "status": "running"}
    return jsonify(running), 202


def outcome(standing: Standing) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ok": True,
        "threadId": standing.thread_key,
        "runId": str(standing.run),
        "status": standing.status,
    }
    if standing.finished:
        shown["text"] = standing.text
        if standing.files:
            shown["attachments"] = list(standing.files)
    if standing.approvals:
        shown["approvals"] = list(standing.approvals)
    return shown


def authorised(name: str) -> Settings:
    """The adapter, once the request proved that it may use it. Nothing of the body is looked at before."""
    for settings in core().settings.adapters:
        if settings.name == name and isinstance(settings, Settings):
            verify(dict(request.headers), current_app.extensions["heyfleet_secrets"][name])
            return settings
    raise Refused(f"there is no webhook adapter named {name!r}", status=404)


def admit(settings: Settings, user: str) -> None:
    """Raises Refused (403) for a user whom the adapter does not let in."""
    why = may_enter(Person(user), settings.allow)
    if why is not None:
        raise Refused(f"{why}: add them to allow.users of adapter {settings.name}", status=403)


def wait_seconds() -> float:
    value = request.args.get("wait", "0")
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MOST_SECONDS:
        raise Refused(f"wait must be a number of seconds from 0 to {MOST_SECONDS:g}, not {value!r}")
    return seconds


def uuid_of(run: str) -> UUID:
    try:
        return UUID(run)
    except ValueError as error:
        raise Refused("there is no such run in this thread", status=404) from error


def waiting() -> Waiting:
    found: Waiting = current_app.extensions["heyfleet_waiting"]
    return found
