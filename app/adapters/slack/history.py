"""Has it arrived? Looked up in a channel's or a thread's history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slack_sdk import WebClient

from app.results import Absent, Ambiguous
from app.traffic import Outbound

CLOCKS_APART = 300.0
"""Seconds that Slack's clock and the database's may differ by."""
FILES_BEFORE = 30.0
"""The same for what nothing but its name and its time tell apart: an agent may send a file of that name again."""
MOST_PAGES = 20
PAGE = 100

NOT_FOUND_YET = Ambiguous("so much was said since that whether it has arrived can't be looked up")


def find_message(
    client: WebClient, channel: str, thread: str | None, delivery: Outbound, mark: Mapping[str, Any]
) -> str | Absent | Ambiguous:
    """What Slack calls the message whose metadata are `mark`."""
    for message in said_since(client, channel, thread, delivery):
        if message is None:
            return NOT_FOUND_YET
        if (message.get("metadata") or {}).get("event_payload") == mark:
            return f"{message['channel']} {message['ts']}"
    return Absent()


def find_file(
    client: WebClient, channel: str, thread: str | None, delivery: Outbound, name: str, me: str
) -> str | Absent | Ambiguous:
    """The id of a file of this name that the bot shared there since the part was first tried, and that is not one which
    an earlier part shared."""
    since = delivery.tried_at.timestamp() - FILES_BEFORE
    for message in said_since(client, channel, thread, delivery):
        if message is None:
            return NOT_FOUND_YET
        for file in message.get("files") or ():
            if message.get("user") != me or file.get("name") != name or file["id"] in delivery.sent:
                continue
            if float(file.get("created") or message["ts"]) >= since:
                return str(file["id"])
    return Absent()


def said_since(
    client: WebClient, channel: str, thread: str | None, delivery: Outbound
) -> Iterator[dict[str, Any] | None]:
    """The messages since the delivery was staged, each with its channel; None in the end where there are too many.

    https://docs.slack.dev/reference/methods/conversations.history · /conversations.replies
    """
    where: dict[str, Any] = {"oldest": f"{delivery.staged_at.timestamp() - CLOCKS_APART:.6f}", "limit": PAGE}
    where |= {"include_all_metadata": True, "inclusive": True}
    if channel.startswith(("U", "W")):
        channel = client.conversations_open(users=channel)["channel"]["id"]
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        if thread is None:
            page = client.conversations_history(channel=channel, cursor=cursor, **where)
        else:
            page = client.conversations_replies(channel=channel, ts=thread, cursor=cursor, **where)
        for message in page["messages"]:
            yield {**message, "channel": channel}
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            return
    yield None
