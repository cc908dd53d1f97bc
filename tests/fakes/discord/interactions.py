"""Answers to interactions: https://docs.discord.com/developers/interactions/receiving-and-responding"""

from __future__ import annotations

import time
from typing import Any

from tests.fakes.discord import refusals
from tests.fakes.discord.bodies import Ask
from tests.fakes.discord.drafts import PEOPLE_ONLY, Draft, draft
from tests.fakes.discord.posts import rewrite
from tests.fakes.discord.refusals import Form, Refused, invalid
from tests.fakes.discord.routes import route
from tests.fakes.discord.state import Answered, Interaction, State
from tests.fakes.discord.world import COMMAND_ANSWER, EPHEMERAL, LOADING, REPLY, Message
from tests.fakes.provider import Answer

PING, COMMAND, COMPONENT = 1, 2, 3
PONG, MESSAGE, DEFERRED, DEFERRED_UPDATE, UPDATE, CHOICES, MODAL = 1, 4, 5, 6, 7, 8, 9


def take(fake: State, ask: Ask, interaction: Interaction, how: str) -> Message | None:
    """Check an answer and do it; the message that came of it or was changed by it."""
    body = ask.object()
    kind: Any = body.get("type")
    data = body.get("data") or {}
    form = Form()
    if form.choice("type", kind, (PONG, MESSAGE, DEFERRED, DEFERRED_UPDATE, UPDATE, CHOICES, MODAL)):
        if (kind == PONG) != (interaction.type == PING):
            form.wrong("type", "INTERACTION_TYPE_INVALID", "A PING is answered with a PONG, and nothing else is")
        if kind in (DEFERRED_UPDATE, UPDATE) and interaction.type != COMPONENT:
            form.wrong("type", "INTERACTION_TYPE_INVALID", "Only components have a message to update")
    form.check()
    if interaction.answered is not None:
        raise Refused(*refusals.ALREADY_ANSWERED)
    changed: Message | None = None
    match kind:
        case 4:
            interaction.original = changed = answer(fake, interaction, draft(fake, ask, data))
        case 5:
            # Of the flags a deferred answer may have EPHEMERAL only.
            flags = (data.get("flags") or 0) & EPHEMERAL | LOADING
            interaction.original = changed = answer(fake, interaction, Draft("", [], [], [], flags, None))
        case 6:
            interaction.original = interaction.message
        case 7:
            interaction.original = changed = interaction.message
            update(fake, ask, interaction, data)
    interaction.answered = kind
    if kind != PONG:
        seconds = time.monotonic() - interaction.at
        fake.interaction_answers.append(Answered(interaction, kind, data, how, seconds))
    return changed


def update(fake: State, ask: Ask, interaction: Interaction, data: dict[str, Any]) -> None:
    message = interaction.message
    assert message is not None
    made = draft(fake, ask, data, message)
    made.write(message)
    if "content" in data:
        fake.set_mentions(message, made.allowed, PEOPLE_ONLY)
    fake.change(message)


def answer(fake: State, interaction: Interaction, made: Draft) -> Message:
    """A new message in answer: to a command of its own kind, to a component or to the first answer a reply."""
    first = interaction.original
    message = Message(fake.snowflakes.next(), interaction.channel, fake.bot, flags=made.flags)
    message.webhook_id = fake.application_id
    message.interaction = {"id": interaction.id, "type": interaction.type, "user": interaction.person.json()}
    before = first or interaction.message
    message.kind = REPLY if before else COMMAND_ANSWER
    message.reference = before.id if before else None
    if first is not None:
        message.interaction["original_response_message_id"] = first.id
    made.write(message)
    fake.set_mentions(message, made.allowed if made.allowed is not None else {"parse": PEOPLE_ONLY}, PEOPLE_ONLY)
    return fake.add(message)


@route("POST", "/interactions/{id}/{token}/callback", token=False)
def callback(fake: State, ask: Ask) -> Answer:
    interaction = fake.interactions.get(ask.ids[1])
    if interaction is None or interaction.id != ask.ids[0]:
        raise Refused(*refusals.UNKNOWN_INTERACTION)
    late = time.monotonic() - interaction.at > fake.answer_seconds
    if interaction.answered is None and (late or interaction.failed):
        interaction.failed = True
        raise Refused(*refusals.UNKNOWN_INTERACTION)
    changed = take(fake, ask, interaction, "callback")
    # Boolean query strings: https://docs.discord.com/developers/reference#boolean-query-strings
    if ask.request.query.get("with_response") not in ("true", "True", "1"):
        return Answer(204)
    shown: dict[str, Any] = {"id": interaction.id, "type": interaction.type}
    if changed is not None:
        shown |= {"response_message_id": changed.id, "response_message_loading": changed.loading}
        shown["response_message_ephemeral"] = changed.ephemeral
    resource: dict[str, Any] = {"type": interaction.answered}
    if changed is not None and interaction.answered in (MESSAGE, UPDATE):
        resource["message"] = fake.json_of(changed)
    return Answer(200, {"interaction": shown, "resource": resource})


# --- what comes after the answer


def by_token(fake: State, ask: Ask) -> Interaction:
    interaction = fake.interactions.get(ask.ids[1])
    if ask.ids[0] != fake.application_id:
        raise Refused(*refusals.UNKNOWN_WEBHOOK)
    # After the time it is 401, and 404 as long as nothing was answered:
    # https://github.com/discord/discord-api-docs/issues/6851
    if interaction is None or time.monotonic() - interaction.at > fake.token_seconds:
        raise Refused(*refusals.INVALID_WEBHOOK_TOKEN)
    if interaction.answered is None:
        raise Refused(*refusals.UNKNOWN_WEBHOOK)
    return interaction


def message_of(fake: State, ask: Ask) -> tuple[Interaction, Message]:
    """`@original`, or a later one of the same interaction."""
    interaction = by_token(fake, ask)
    if len(ask.ids) == 2:
        found = interaction.original
    else:
        wrote = [one for one in interaction.channel.history if (one.interaction or {}).get("id") == interaction.id]
        found = next((one for one in wrote if one.id == ask.ids[2]), None)
    if found is None or found not in found.channel.history:
        raise Refused(*refusals.UNKNOWN_MESSAGE)
    return interaction, found


@route("GET", "/webhooks/{id}/{token}/messages/@original", token=False)
@route("GET", "/webhooks/{id}/{token}/messages/{id}", token=False)
def get(fake: State, ask: Ask) -> Answer:
    return Answer(200, fake.json_of(message_of(fake, ask)[1]))


@route("PATCH", "/webhooks/{id}/{token}/messages/@original", token=False)
@route("PATCH", "/webhooks/{id}/{token}/messages/{id}", token=False)
def patch(fake: State, ask: Ask) -> Answer:
    message = message_of(fake, ask)[1]
    rewrite(fake, ask, message, PEOPLE_ONLY)
    return Answer(200, fake.json_of(message))


@route("DELETE", "/webhooks/{id}/{token}/messages/@original", token=False)
@route("DELETE", "/webhooks/{id}/{token}/messages/{id}", token=False)
def delete(fake: State, ask: Ask) -> Answer:
    fake.remove(message_of(fake, ask)[1])
    return Answer(204)


@route("POST", "/webhooks/{id}/{token}", token=False)
def follow_up(fake: State, ask: Ask) -> Answer:
    interaction, payload = by_token(fake, ask), ask.object()
    if payload.get("enforce_nonce"):
        # Webhooks do not know it: https://github.com/discord/discord-api-docs/pull/6647
        fake.problems.append("enforce_nonce has no effect in a follow-up")
    original = interaction.original
    if interaction.answered == DEFERRED and original is not None and original.loading:
        # Right after a deferred answer it is that one's edit.
        rewrite(fake, ask, original, PEOPLE_ONLY)
        return Answer(200, fake.json_of(original))
    if "thread_id" in ask.request.query:
        raise invalid("thread_id", "BASE_TYPE_CHOICES", "Not supported in a follow-up")
    return Answer(200, fake.json_of(answer(fake, interaction, draft(fake, ask, payload))))
