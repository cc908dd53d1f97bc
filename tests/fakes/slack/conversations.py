"""Methods of `conversations.*`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fakes.slack.arguments import Arguments, page
from tests.fakes.slack.refusals import Refused
from tests.fakes.slack.shapes import channel_json, message_json
from tests.fakes.slack.workspace import Message, Workspace

TYPES = {"public_channel": "channels", "private_channel": "groups", "im": "im", "mpim": "mpim"}


def history(team: Workspace, args: Arguments) -> dict[str, Any]:
    """The newest first; replies are not in it, unless the channel was shown them too.

    https://docs.slack.dev/reference/methods/conversations.history
    """
    channel = team.entered(args.needed("channel"))
    team.need(f"{channel.scope}:history")
    inside = between(args)
    shown = [message for message in channel.messages if message.broadcast or not message.is_reply]
    found, cursor = page([message for message in reversed(shown) if inside(message)], args, 100, 999)
    return listed(team, args, list(found), cursor) | {"pin_count": 0}


def replies(team: Workspace, args: Arguments) -> dict[str, Any]:
    """The oldest first, and before it the thread's first message.

    https://docs.slack.dev/reference/methods/conversations.replies
    """
    channel = team.entered(args.needed("channel"))
    team.need(f"{channel.scope}:history")
    inside = between(args)
    asked = channel.at(args.timestamp("ts", "thread_not_found"))
    if asked is None:
        raise Refused("thread_not_found")
    root = asked.thread_ts or asked.ts
    found, cursor = page([one for one in channel.thread(root) if one.ts == root or inside(one)], args, 1000, 1000)
    return listed(team, args, list(found), cursor)


def between(args: Arguments) -> Callable[[Message], bool]:
    """Inside `oldest` and `latest`; on their edges only with `inclusive`."""
    bounds = {}
    for name, default in (("oldest", "0"), ("latest", "9999999999.999999")):
        try:
            bounds[name] = microseconds(args.text(name) or default)
        except ValueError:
            raise Refused(f"invalid_ts_{name}") from None
    oldest, latest = bounds["oldest"], bounds["latest"]
    if args.flag("inclusive"):
        return lambda message: oldest <= microseconds(message.ts) <= latest
    return lambda message: oldest < microseconds(message.ts) < latest


def microseconds(ts: str) -> int:
    """Exact, as a float is not."""
    seconds, _, rest = ts.partition(".")
    return int(seconds) * 1_000_000 + int(f"{rest[:6]:0<6}")


def listed(team: Workspace, args: Arguments, found: list[Message], cursor: str) -> dict[str, Any]:
    metadata = args.flag("include_all_metadata")
    answer = {"messages": [message_json(team, message, metadata) for message in found], "has_more": bool(cursor)}
    # There is no `response_metadata` where there is no more.
    return answer | ({"response_metadata": {"next_cursor": cursor}} if cursor else {})


def list_all(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/conversations.list"""
    types = [kind.strip() for kind in args.text("types", "public_channel").split(",")]
    if not set(types) <= set(TYPES):
        raise Refused("invalid_types")
    wanted = {TYPES[kind] for kind in types}
    team.need(*(f"{scope}:read" for scope in sorted(wanted)))
    without_archived = args.flag("exclude_archived")
    found = [
        channel
        for channel in team.channels.values()
        if channel.scope in wanted
        and not (channel.private and team.bot_user not in channel.members)
        and not (without_archived and channel.archived)
    ]
    shown, cursor = page(found, args, 100, 1000)
    channels = [channel_json(team, channel) for channel in shown]
    return {"channels": channels, "response_metadata": {"next_cursor": cursor}}


def open_direct(team: Workspace, args: Arguments) -> dict[str, Any]:
    """The direct messages with one person. https://docs.slack.dev/reference/methods/conversations.open"""
    person = args.needed("users")
    if person not in team.people:
        raise Refused("user_not_found")
    between = {person, team.bot_user}
    there = [channel for channel in team.channels.values() if channel.kind == "im" and channel.members == between]
    channel = there[0] if there else team.channel("", kind="im", members=[person])
    return {"channel": {"id": channel.id}}


def info(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/conversations.info"""
    channel = team.seen(args.needed("channel"))
    team.need(f"{channel.scope}:read")
    shown = channel_json(team, channel)
    if not args.flag("include_num_members"):
        shown.pop("num_members", None)
    return {"channel": shown}
