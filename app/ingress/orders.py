"""Orders that come by the webhook adapter: answers to approvals, and cancellations."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from app.adapters.webhook.parse import Answer, Cancellation, parsed
from app.approvals import find
from app.bootstrap import desk_of
from app.control import desk
from app.control.desk import Answered, Order
from app.errors import Refused
from app.ingress.bodies import body_bytes, core
from app.ingress.runs import standings
from app.ingress.webhook import admit, authorised, outcome, run_of
from app.policy.people import Person
from app.questions import view

blueprint = Blueprint("orders", __name__)


@blueprint.post("/webhook/<name>/approvals/<approval>")
def answer_approval(name: str, approval: str) -> tuple[Response, int]:
    """200 where the answer is the one that counts, 409 with the one that does where it came too late."""
    settings = authorised(name)
    body = parsed(Answer, body_bytes(settings.max_body_bytes), '{"user": "ada", "decision": "approve"}')
    admit(settings, body.user)
    found = desk.answer(
        desk_of(core()),
        Order(Person(body.user), settings.name, settings.name),
        approval,
        body.decision,
        bypass=bool(body.bypass),
        bypass_seconds=body.bypass_seconds,
    )
    shown = view(find(core().db, str(found.asked.id)))
    if not found.decided.won:
        error = f"{shown['id']} was {found.decided.state.value} by {found.decided.by} already"
        return jsonify(ok=False, error=error, approval=shown), 409
    return jsonify(ok=True, approval=shown, **granted(found)), 200


def granted(found: Answered) -> dict[str, Any]:
    grant = found.grant
    return {"bypass": {"id": grant.code, "scope": grant.scope, "seconds": grant.seconds}} if grant else {}


@blueprint.post("/webhook/<name>/threads/<thread>/runs/<run>/cancel")
def cancel_run(name: str, thread: str, run: str) -> tuple[Response, int]:
    """202 where the run is being cancelled, with how it stands; 409 where it is too late."""
    settings = authorised(name)
    body = parsed(Cancellation, body_bytes(settings.max_body_bytes), '{"user": "ada"}')
    admit(settings, body.user)
    found = run_of(settings, thread, run)
    done = desk.cancel(desk_of(core()), Order(Person(body.user), settings.name, settings.name), found.run)
    if done is None:
        raise Refused("the run is finished, or being cancelled already", status=409)
    return jsonify(outcome(standings(core().db, [found.run])[found.run])), 202
