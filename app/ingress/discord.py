"""Interactions that Discord posts: commands and buttons.

https://discord.com/developers/docs/interactions/overview#configuring-an-interactions-endpoint-url
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from app.adapters.discord import DiscordAdapter
from app.adapters.discord.parse import verify
from app.bootstrap import desk_of
from app.entry import enter
from app.errors import Refused
from app.ingress.bodies import body_bytes, core, parsed_json

MOST_BYTES = 1_000_000

blueprint = Blueprint("discord", __name__)


@blueprint.post("/discord/<name>/interactions")
def interactions(name: str) -> Response:
    adapter = adapter_named(name)
    raw = body_bytes(MOST_BYTES)
    verify(dict(request.headers), raw, adapter.settings.public_key or "")
    interaction, desk = parsed_json(raw), desk_of(core())
    happening = adapter.understand_interaction(interaction)
    work = (lambda: enter(desk, adapter.settings, happening).say) if happening is not None else None
    answer, follow = adapter.answering.answer(interaction, work, desk.settings.messages)
    response = jsonify(answer)
    # Once it is sent: what came of an order is written into the answer that Discord has by then.
    response.call_on_close(follow)
    return response


def adapter_named(name: str) -> DiscordAdapter:
    adapter = core().adapters.get(name)
    if isinstance(adapter, DiscordAdapter) and adapter.settings.public_key:
        return adapter
    raise Refused(f"there is no discord adapter named {name!r} with a public_key", status=404)
