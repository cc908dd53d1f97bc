"""What Telegram posts to a webhook. https://core.telegram.org/bots/api#setwebhook"""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.adapters.telegram import TelegramAdapter
from app.adapters.telegram.parse import verify
from app.bootstrap import desk_of
from app.entry import enter
from app.errors import Refused
from app.ingress.bodies import body_bytes, core, parsed_json

MOST_BYTES = 1_000_000

blueprint = Blueprint("telegram", __name__)


@blueprint.post("/telegram/<name>/webhook")
def webhook(name: str) -> Response:
    adapter = adapter_named(name)
    verify(request.headers.get("X-Telegram-Bot-Api-Secret-Token", ""), adapter.settings)
    update = parsed_json(body_bytes(MOST_BYTES))
    happening = adapter.understand(update)
    entered = enter(desk_of(core()), adapter.settings, happening) if happening is not None else None
    if "callback_query" in update:
        adapter.notice(str(update["callback_query"].get("id") or ""), entered.say if entered else "")
    return Response(status=200)


def adapter_named(name: str) -> TelegramAdapter:
    adapter = core().adapters.get(name)
    if isinstance(adapter, TelegramAdapter) and adapter.settings.mode == "webhook":
        return adapter
    raise Refused(f"there is no telegram adapter named {name!r} with mode: webhook", status=404)
