"""What Discord refuses in an application's commands, and the calls that set them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from tests.fakes.discord.bodies import Ask
from tests.fakes.discord.refusals import NOT_YOUR_APPLICATION, Form, Refused, invalid
from tests.fakes.discord.routes import route
from tests.fakes.discord.state import State
from tests.fakes.provider import Answer

# https://docs.discord.com/developers/interactions/application-commands
MOST_COMMANDS, MOST_OPTIONS, MOST_CHOICES, SLASH = 100, 25, 25, 1
SUBCOMMANDS = (1, 2)


@route("PUT", "/applications/{id}/commands")
@route("PUT", "/applications/{id}/guilds/{id}/commands")
def overwrite(fake: State, ask: Ask) -> Answer:
    """https://docs.discord.com/developers/interactions/application-commands#bulk-overwrite-global-application-commands"""
    guild = scope(fake, ask)
    wanted = ask.json()
    check(wanted)
    before = {(one["name"], one["type"]): one["id"] for one in fake.commands.get(guild, [])}
    fake.commands[guild] = [
        {
            **one,
            "id": before.get((one["name"], one.get("type", SLASH))) or fake.snowflakes.next(),
            "application_id": fake.application_id,
            "type": one.get("type", SLASH),
            "description": one.get("description", ""),
            "version": fake.snowflakes.next(),
            **({"guild_id": guild} if guild else {}),
        }
        for one in wanted
    ]
    return Answer(200, fake.commands[guild])


@route("GET", "/applications/{id}/commands")
@route("GET", "/applications/{id}/guilds/{id}/commands")
def listed(fake: State, ask: Ask) -> Answer:
    return Answer(200, fake.commands.get(scope(fake, ask), []))


def scope(fake: State, ask: Ask) -> str:
    """The guild's id; empty: everywhere."""
    if ask.ids[0] != fake.application_id:
        raise Refused(*NOT_YOUR_APPLICATION)
    return fake.guild_for_bot(ask.ids[1]).id if len(ask.ids) > 1 else ""


def check(commands: Any) -> None:
    if not isinstance(commands, list):
        raise invalid("", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    form = Form()
    form.length("", commands, MOST_COMMANDS)
    names: set[tuple[str, int]] = set()
    for number, one in enumerate(commands):
        key = (str(one.get("name")), one.get("type", SLASH))
        if key in names:
            form.wrong(f"{number}", "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique")
        names.add(key)
        if not form.choice(f"{number}.type", key[1], (1, 2, 3, 4)):
            continue
        if key[1] == SLASH:
            check_slash(form, f"{number}", one)
        else:
            form.length(f"{number}.name", one.get("name"), 32, least=1)
    form.check()


def check_slash(form: Form, path: str, one: Mapping[str, Any]) -> None:
    check_name(form, f"{path}.name", one.get("name"))
    form.length(f"{path}.description", one.get("description"), 100, least=1)
    options = one.get("options") or []
    form.length(f"{path}.options", options, MOST_OPTIONS)
    optional, names = False, set()
    for number, option in enumerate(options):
        inside = f"{path}.options.{number}"
        if not form.choice(f"{inside}.type", option.get("type"), tuple(range(1, 12))):
            continue
        check_slash(form, inside, option)
        form.length(f"{inside}.choices", option.get("choices"), MOST_CHOICES)
        if option.get("name") in names:
            form.wrong(inside, "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", "Option name already exists")
        names.add(option.get("name"))
        if option.get("required") and optional:
            said = "Required options must be placed before non-required options"
            form.wrong(inside, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", said)
        optional = optional or not (option.get("required") or option["type"] in SUBCOMMANDS)


def check_name(form: Form, path: str, name: Any) -> None:
    """Letters, numbers, - _ ' and the marks of Devanagari and Thai; lower case where there is one."""
    form.length(path, name, 32, least=1)
    if not isinstance(name, str) or not name:
        return
    if name != name.lower() or not all(may_be_in_a_name(letter) for letter in name):
        form.wrong(path, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def may_be_in_a_name(letter: str) -> bool:
    scripts = ("DEVANAGARI", "THAI")
    return (
        letter in "-_'" or unicodedata.category(letter)[0] in "LN" or unicodedata.name(letter, "").startswith(scripts)
    )
