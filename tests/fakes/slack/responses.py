"""The `response_url` of a command or a click: answers that need no token.

https://docs.slack.dev/interactivity/handling-user-interaction#message_responses
"""

from __future__ import annotations

from typing import Any

from tests.fakes.provider import Answer, Request
from tests.fakes.slack.arguments import Arguments, json_object
from tests.fakes.slack.chat import MOST_TEXT, content, named, parent
from tests.fakes.slack.events import Events, Response, ResponseUrl
from tests.fakes.slack.refusals import Refused
from tests.fakes.slack.workspace import Message

MOST_USES = 5


def respond(team: Events, request: Request) -> Answer:
    """Up to five of them within 30 minutes (the fake's do not grow old)."""
    place = team.response_urls[request.path]
    if place.uses >= MOST_USES:
        return Answer(404, {"ok": False, "error": "used_url"})
    try:
        payload = json_object(request.body)
        apply(team, place, payload)
    except Refused as refused:
        return Answer(400, refused.body)
    place.uses += 1
    team.responses.append(Response(f"{team.origin}{request.path}", place.channel, place.user, payload))
    return Answer(200, {"ok": True})


def apply(team: Events, place: ResponseUrl, payload: dict[str, Any]) -> None:
    """What all can see; an ephemeral answer is only noted."""
    args, channel = Arguments(payload), team.channels[place.channel]
    if args.flag("delete_original"):
        if place.message in channel.messages:
            channel.messages.remove(place.message)
        return
    text, blocks = content(team, args, MOST_TEXT)
    if args.flag("replace_original") and place.message is not None:
        place.message.text, place.message.blocks, place.message.edited = text, named(team, blocks or []), True
    elif args.text("response_type") == "in_channel":
        root = parent(team, channel, args)
        message = Message(channel.id, channel.next_ts(), team.bot_user, text, named(team, blocks or []), root)
        message.bot_id = team.bot_id
        team.add(channel, message)
