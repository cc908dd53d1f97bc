"""Methods of `users.*`, `usergroups.*` and `reactions.*`."""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.slack.arguments import Arguments, page
from tests.fakes.slack.refusals import Refused
from tests.fakes.slack.shapes import group_json, person_json
from tests.fakes.slack.workspace import Message, Workspace

EMOJI = re.compile(r"[a-z0-9_+'-]+(::skin-tone-[2-6])?")


def users_list(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/users.list"""
    shown, cursor = page(list(team.people.values()), args, 1000, 1000)
    members = [person_json(team, person) for person in shown]
    return {"members": members, "response_metadata": {"next_cursor": cursor}}


def users_info(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/users.info"""
    person = team.people.get(args.needed("user"))
    if person is None:
        raise Refused("user_not_found")
    return {"user": person_json(team, person)}


def groups_list(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/usergroups.list"""
    users = args.flag("include_users")
    return {"usergroups": [group_json(team, group, users) for group in team.groups.values()]}


def group_users_list(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/usergroups.users.list"""
    group = team.groups.get(args.needed("usergroup"))
    if group is None:
        raise Refused("no_such_subteam")
    return {"users": list(group.users)}


def reactions_add(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/reactions.add"""
    message, name = reacted(team, args)
    users = message.reactions.setdefault(name, [])
    if team.bot_user in users:
        raise Refused("already_reacted")
    users.append(team.bot_user)
    return {}


def reactions_remove(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/reactions.remove"""
    message, name = reacted(team, args)
    if team.bot_user not in message.reactions.get(name, []):
        raise Refused("no_reaction")
    message.reactions[name].remove(team.bot_user)
    if not message.reactions[name]:
        del message.reactions[name]
    return {}


def reacted(team: Workspace, args: Arguments) -> tuple[Message, str]:
    """The message and the emoji's name, which is without colons."""
    if not args.has("channel") or not args.has("timestamp"):
        raise Refused("no_item_specified")
    channel = team.entered(args.text("channel"))
    name = args.needed("name")
    if not EMOJI.fullmatch(name):
        raise Refused("invalid_name")
    message = channel.at(args.timestamp("timestamp", "bad_timestamp"))
    if message is None:
        raise Refused("message_not_found")
    if channel.archived:
        raise Refused("is_archived")
    return message, name
