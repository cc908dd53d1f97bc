"""Who gets in, and what is meant for the agent. Pure; each answer is why not, or None."""

from __future__ import annotations

from app.config.adapters import Allow, Chat, TelegramAllow
from app.policy.people import Person, named
from app.traffic import Happening, Said, Sender


def person_of(sender: Sender) -> Person:
    return Person(sender.id, sender.groups, sender.bot)


def may_talk(what: Happening, allow: Allow | TelegramAllow | None) -> str | None:
    """Whether whoever did this may use an adapter's agent there."""
    found = allow or Allow()
    if what.sender.bot:
        why = may_bot(what.sender, found)
    elif (found.users or found.groups) and not named(person_of(what.sender), found):
        why = f"{what.sender.id} is not among allow.users and allow.groups"
    else:
        why = None
    return why or may_be_there(what, found)


def may_bot(sender: Sender, allow: Allow | TelegramAllow) -> str | None:
    if allow.bots is True or (isinstance(allow.bots, list) and sender.id in allow.bots):
        return None
    return f"{sender.id} is a bot, and allow.bots does not let it in"


def may_be_there(what: Happening, allow: Allow | TelegramAllow) -> str | None:
    if what.dm:
        return None if allow.dms else "allow.dms is false"
    if allow.channels and not {what.channel, what.parent} & set(allow.channels):
        return f"{what.channel} is not among allow.channels"
    return None


def is_meant(said: Said, adapter: Chat, *, goes_on: bool) -> str | None:
    """Whether a message is for the agent; `goes_on`: it is part of a conversation that has begun before."""
    if said.dm:
        return None
    if said.sender.bot and not said.meant:
        # Two agents would answer each other for ever.
        return "it is a bot's, and does not mention this one"
    trigger = adapter.thread_trigger if goes_on and said.in_thread else adapter.trigger
    if goes_on and said.flat:
        trigger = "message"
    match trigger:
        case "message":
            return None
        case "mention":
            return None if said.meant else "it does not mention the bot"
        case False:
            return "thread_trigger is false"
