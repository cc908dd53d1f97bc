"""What Slack posts: events, slash commands and buttons, all at one address.

https://docs.slack.dev/apis/events-api#responding: answered within three seconds, or Slack sends it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from flask import Blueprint, Response, jsonify, request

from app.adapters.slack import SlackAdapter
from app.adapters.slack.verify import verify
from app.bootstrap import desk_of
from app.config.adapters import SlackAdapter as Settings
from app.entry import Entered, enter
from app.errors import Refused
from app.ingress.bodies import body_bytes, core, parsed_json

MOST_BYTES = 1_000_000

blueprint = Blueprint("slack", __name__)


@blueprint.post("/slack/<name>/events")
def events(name: str) -> Response:
    adapter = adapter_named(name)
    raw = body_bytes(MOST_BYTES)
    verify(dict(request.headers), raw, secrets_of(adapter.settings))
    kind, payload = envelope_of(raw)
    if kind == "url_verification":
        return jsonify(challenge=payload.get("challenge"))
    happening = adapter.understand(kind, payload)
    if happening is None:
        return Response(status=200)
    return answer(adapter, enter(desk_of(core()), adapter.settings, happening), kind, payload)


def answer(adapter: SlackAdapter, entered: Entered, kind: str, payload: Mapping[str, Any]) -> Response:
    """What only its sender is to see goes where Slack takes it: in the answer to a command, to a button's own URL."""
    if entered.say and kind == "slash_commands":
        return jsonify(response_type="ephemeral", text=adapter.shown(entered.say))
    if entered.say and kind == "interactive":
        adapter.whisper(str(payload.get("response_url") or ""), entered.say)
    return Response(status=200)


def envelope_of(raw: bytes) -> tuple[str, Mapping[str, Any]]:
    """The kind of what was posted, in the words of Socket Mode, and its payload. Raises Refused (400)."""
    if request.mimetype == "application/json":
        payload = parsed_json(raw)
        known = {"url_verification": "url_verification", "event_callback": "events_api"}
        return known.get(str(payload.get("type")), "other"), payload
    form = {field: values[-1] for field, values in form_of(raw).items()}
    return ("interactive", parsed_json(form["payload"].encode())) if "payload" in form else ("slash_commands", form)


def form_of(raw: bytes) -> Mapping[str, list[str]]:
    try:
        return parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise Refused(f"the body is no form: {error}") from error


def adapter_named(name: str) -> SlackAdapter:
    adapter = core().adapters.get(name)
    if isinstance(adapter, SlackAdapter) and adapter.settings.mode == "http":
        return adapter
    raise Refused(f"there is no slack adapter named {name!r} with mode: http", status=404)


def secrets_of(settings: Settings) -> list[str]:
    found = settings.signing_secret
    several = found if isinstance(found, list) else [found] if found is not None else []
    return [secret.get_secret_value() for secret in several]
