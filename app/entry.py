"""Where what happens in a chat comes in: is it for the agent, may they, and then into the inbox or to the desk."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from mimetypes import guess_type
from typing import Any, assert_never
from uuid import UUID

import structlog

from app import tracing
from app.config.adapters import Chat
from app.config.messages import Messages
from app.control.commands import BUSY, Command, parse
from app.control.desk import Desk, Order
from app.control.desk import answer as answer_approval
from app.control.obey import obey_at_once, told
from app.errors import Refused
from app.inbox import Accepted, accept
from app.jsonb import storable
from app.policy.entry import is_meant, may_talk, person_of
from app.states import OPEN_TURNS, sql_list
from app.traffic import BESIDE, Happening, Inbound, Ordered, Pressed, Said, safe_name

log = structlog.get_logger()

MENTIONED = "(They mentioned you, and said nothing else.)"
"""In place of an empty message, which some models refuse."""
UNKNOWN_KIND = "application/octet-stream"
MOST_FILES = 20
"""Of one message."""
PASTED = frozenset(("image", "image0", "unknown", "file", "blob", "screenshot", "untitled", "message"))

# Orders begin no conversation, nor does what a job says to a channel.
GOES_ON = """
    SELECT 1 FROM thread
    WHERE agent = :agent AND adapter = :adapter AND team = '' AND key = :key AND EXISTS (
        SELECT 1 FROM turn WHERE thread_id = thread.id AND command IS NULL AND job IS NULL)"""

JOINED = f"""
    SELECT 1 FROM thread JOIN turn ON turn.thread_id = thread.id
    WHERE thread.agent = :agent AND thread.adapter = :adapter AND team = '' AND key = :key
        AND turn.state IN ({sql_list(OPEN_TURNS)}) AND turn.reply ->> 'album' = :album LIMIT 1"""

# The conversation in which the bot said something, of what it said last in this channel.
ANSWERED = """
    SELECT thread.key FROM (
        SELECT delivery.turn_id, sent FROM destination JOIN delivery ON delivery.destination_id = destination.id
        WHERE adapter = :adapter AND address = :address ORDER BY seq DESC LIMIT 500) AS latest
    JOIN turn ON turn.id = latest.turn_id JOIN thread ON thread.id = turn.thread_id
    WHERE latest.sent @> jsonb_build_array(CAST(:answers AS text)) LIMIT 1"""

# The latest conversation of somebody in a channel, if they said something in it just now.
RECENT = """
    SELECT thread.key FROM thread
    JOIN LATERAL (
        SELECT actor, created_at FROM turn
        WHERE thread_id = thread.id AND job IS NULL AND command IS NULL ORDER BY seq DESC LIMIT 1
    ) AS latest ON latest.actor = :actor AND latest.created_at > now() - make_interval(secs => :seconds)
    WHERE adapter = :adapter AND channel = :channel AND agent = :agent AND team = ''
        AND starts_with(key, :prefix) AND last_asked_at > now() - make_interval(secs => :seconds)
    ORDER BY latest.created_at DESC LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Entered:
    """What became of something that happened."""

    accepted: Accepted | None = None
    """The message that it was stored as; None: nothing is kept of it."""
    say: str = ""
    """What its sender alone is to be told at once."""


def enter(desk: Desk, adapter: Chat, what: Happening) -> Entered:
    """Take it in, or drop it. Raises Unavailable: then nothing was done, and the provider may send it again."""
    why = may_talk(what, adapter.allow)
    if why is not None:
        return dropped(desk.settings.messages, adapter, what, why)
    with tracing.entrance(f"receive {adapter.name}", {"heyfleet.adapter": adapter.name}, kind="consumer"):
        match what:
            case Said():
                return listen(desk, adapter, what)
            case Ordered():
                return obey_order(desk, adapter, what)
            case Pressed():
                return press(desk, adapter, what)
            case _:
                assert_never(what)


def dropped(texts: Messages, adapter: Chat, what: Happening, why: str) -> Entered:
    log.debug("not_taken_in", adapter=adapter.name, channel=what.channel, sender=what.sender.id, why=why)
    # Who only wrote where the bot happens to be is told nothing; who pressed or ordered something waits for an answer.
    return Entered() if isinstance(what, Said) else Entered(say=texts.not_allowed)


def listen(desk: Desk, adapter: Chat, said: Said) -> Entered:
    said, goes_on = placed(desk, adapter, said)
    why = is_meant(said, adapter, goes_on=goes_on)
    if why is not None:
        return dropped(desk.settings.messages, adapter, said, why)
    command = parse(storable(said.text))
    if command is not None and is_order(said, command):
        return obey(desk, adapter, said, command)
    whole = "\n\n".join(filter(None, (said.text, said.quoted)))
    return take_in(desk, adapter, replace(said, text=whole if whole or said.files else MENTIONED))


def is_order(said: Said, command: Command) -> bool:
    """In a channel `new` may be a word of a conversation; with an id, a slash or the bot's name it is an order."""
    named = bool(command.about) and command.verb != "bash"
    return said.dm or said.meant or named or said.text.startswith("/")


def placed(desk: Desk, adapter: Chat, said: Said) -> tuple[Said, bool]:
    """The message in its conversation, and whether that has begun before."""
    names = {"agent": adapter.agent, "adapter": adapter.name}
    if said.answers:
        row = desk.db.one(ANSWERED, adapter=adapter.name, address=said.answered_at, answers=said.answers)
        if row is not None:
            return replace(said, key=row.key), True
    if said.album and is_joined(desk, adapter, said):
        return said, True
    if said.flat:
        seconds = adapter.response.continue_recent
        # Not those in threads below the channel.
        where = {"channel": said.channel, "prefix": f"{said.key.rpartition(' m')[0]} m"}
        recent = {**names, **where, "actor": storable(said.sender.id), "seconds": seconds}
        row = desk.db.one(RECENT, recent) if seconds else None
        return (replace(said, key=row.key), True) if row else (said, False)
    # Who mentions the bot, or writes to it alone, is meant in any case.
    if said.dm or not said.in_thread or (said.meant and adapter.thread_trigger):
        return said, False
    return said, desk.db.one(GOES_ON, {**names, "key": said.key}) is not None


def take_in(desk: Desk, adapter: Chat, said: Said) -> Entered:
    if said.album:
        said = replace(said, reply={**said.reply, "album": said.album})
    inbound = with_progress(desk, inbound_of(adapter, said, attachments=named(said)))
    rejects = desk.settings.task.busy == "reject" and not (said.album and is_joined(desk, adapter, said))
    try:
        accepted = accept(desk.db, inbound, reject_busy=rejects)
    except Refused as error:
        if error.status != 409:
            raise
        # Its thread is busy, and is to take nothing on: that is said like the outcome of a command.
        return obey(desk, adapter, said, Command(BUSY))
    if not accepted.duplicate:
        # What is sent at once comes one after the other: the sweeper's wake, a moment later, finds all of it.
        if not said.album:
            desk.wakes.thread(accepted.thread_id)
        if accepted.destination is not None:
            desk.wakes.destination(accepted.destination)
    return Entered(accepted)


def is_joined(desk: Desk, adapter: Chat, said: Said) -> bool:
    """Whether what was sent with it at once is being worked on, or will be."""
    names = {"agent": adapter.agent, "adapter": adapter.name, "key": said.key, "album": said.album}
    return desk.db.one(JOINED, names) is not None


def named(said: Said) -> list[dict[str, Any]]:
    """Its files with names that they can have in a sandbox, each another, and their kinds where its provider does not
    say. Pasted pictures are all called the same: they get something of their message's id."""
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    for number, file in enumerate(said.files[:MOST_FILES], 1):
        name, kind = safe_name(str(file["name"]))[-100:] or "file", str(file["media_type"])
        stem, dot, ending = name.partition(".")
        if stem.lower() in PASTED:
            name = f"{stem}-{re.sub('[^0-9]', '', said.event_key)[-6:]}{dot}{ending}"
        while name in taken:
            name = f"{number}-{name}"
        taken.add(name)
        if kind == UNKNOWN_KIND:
            kind = guess_type(name)[0] or kind
        found.append({**file, "name": name, "media_type": kind})
    return found


def with_progress(desk: Desk, inbound: Inbound) -> Inbound:
    """What it shows, where its adapter shows anything."""
    port = desk.adapters[inbound.adapter]
    body, address = port.progress(inbound.reply), port.address(inbound.reply, inbound.key)
    return replace(inbound, progress=(address + BESIDE, body)) if body is not None and address is not None else inbound


def inbound_of(adapter: Chat, what: Said | Ordered, **more: Any) -> Inbound:
    return Inbound(
        agent=adapter.agent,
        adapter=adapter.name,
        key=what.key,
        channel=what.channel,
        actor=what.sender.id,
        text=what.text,
        event_key=what.event_key,
        reply=what.reply,
        sender={"groups": list(what.sender.groups), "bot": what.sender.bot},
        **more,
    )


def obey_order(desk: Desk, adapter: Chat, order: Ordered) -> Entered:
    command = parse(storable(order.text))
    if command is None:
        return Entered(say=desk.settings.messages.commands)
    return obey(desk, adapter, order, command)


def obey(desk: Desk, adapter: Chat, what: Said | Ordered, command: Command) -> Entered:
    """A command is accepted like a message; most are carried out at once, whatever else is in flight.

    What comes of it is told to its giver alone where the provider has a way for that.
    """
    inbound = inbound_of(adapter, what, command=command.text)
    if isinstance(what, Ordered) and command.at_once:
        inbound = replace(inbound, reply={})
    accepted = accept(desk.db, inbound)
    if accepted.duplicate:
        return Entered(accepted)
    if not command.at_once:
        desk.wakes.thread(accepted.thread_id)
        return Entered(accepted, say=desk.settings.messages.taken if isinstance(what, Ordered) else "")
    order = Order(person_of(what.sender), adapter.name, adapter.name, place_of(what))
    text = obey_at_once(desk, order, command, inbound, accepted)
    return Entered(accepted, say=text if isinstance(what, Ordered) else "")


def place_of(what: Happening) -> tuple[str, str]:
    return "", what.channel


def press(desk: Desk, adapter: Chat, pressed: Pressed) -> Entered:
    """An answer to an approval: its card tells everybody who decided, so that only a refusal needs saying."""
    order = Order(person_of(pressed.sender), adapter.name, adapter.name, place_of(pressed))
    texts = desk.settings.messages
    try:
        found = answer_approval(desk, order, pressed.approval, pressed.decision, bypass=pressed.bypass)
    except Refused as error:
        if error.status == 404:
            return Entered(say=texts.unknown_id.format(id=pressed.approval, command=pressed.decision))
        return Entered(say=texts.not_permitted.format(reason=error.message))
    if found.decided.won and found.grant is None:
        return Entered()
    return Entered(say=told(desk, found))


def turn_of(entered: Entered) -> UUID | None:
    """The turn that it became, where it became one just now."""
    accepted = entered.accepted
    return accepted.turn_id if accepted is not None and not accepted.duplicate else None
