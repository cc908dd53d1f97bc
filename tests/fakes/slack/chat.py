"""Methods of `chat.*`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.fakes.slack.arguments import Arguments
from tests.fakes.slack.blocks import checked, invalid, mrkdwn_texts
from tests.fakes.slack.refusals import Refused, TooMany
from tests.fakes.slack.shapes import message_json
from tests.fakes.slack.workspace import Channel, Message, Workspace

# Longer texts are cut off by Slack, with a warning; here they are refused, so that no test loses the end of one.
# https://api.slack.com/changelog/2018-04-truncating-really-long-messages
MOST_TEXT = 40_000
# https://docs.slack.dev/reference/methods/chat.update (errors: msg_too_long). Of bytes, as people have found out.
MOST_UPDATED_TEXT = 4_000
MOST_MARKDOWN_TEXT = 12_000
# How much is too large no page says; this is what is surely less.
MOST_METADATA_BYTES = 8_000
# https://docs.slack.dev/messaging/formatting-message-text: `&`, `<` and `>` are sent as entities, unless the `<`
# and `>` hold a link or a mention, or the `>` begins a quote.
REFERENCE = re.compile(r"<(@[UW]\w+|#[CG]\w+|!\w[^<>|]*|[a-z]+:[^<>|\s]+)(\|[^<>]*)?>")
QUOTE = re.compile(r"^(>>>|>)", re.MULTILINE)
UNESCAPED = re.compile(r"[<>]|&(?!amp;|lt;|gt;)")


def post_message(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/chat.postMessage"""
    channel = addressed(team, args.needed("channel"))
    text, blocks = content(team, args, MOST_TEXT)
    metadata = metadata_of(args)
    root = parent(team, channel, args)
    # The limit is each channel's own.
    seconds = 0.0 if team.lenient else team.posting.wait(channel.id)
    if seconds:
        team.violations.append(f"chat.postMessage to {channel.id}: {seconds:.2f} s too early: {text[:60]!r}")
        raise TooMany(seconds)
    message = Message(
        channel.id,
        channel.next_ts(),
        team.bot_user,
        text,
        named(team, blocks or []),
        root,
        metadata or None,
        bot_id=team.bot_id,
        broadcast=bool(root) and args.flag("reply_broadcast"),
    )
    message.subtype = "thread_broadcast" if message.broadcast else None
    team.add(channel, message)
    return {"channel": channel.id, "ts": message.ts, "message": message_json(team, message, metadata=True)}


def update(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/chat.update"""
    channel = team.entered(args.needed("channel"))
    if channel.archived:
        raise Refused("is_inactive")
    message = own(channel, args, team.bot_user, "cant_update_message")
    text, blocks = content(team, args, MOST_TEXT)
    if len(text.encode()) > MOST_UPDATED_TEXT:
        raise Refused("msg_too_long")
    metadata = metadata_of(args)
    if blocks is None:
        # "If the `text` argument is provided and `blocks` are not provided, the `blocks` will be removed."
        message.text, message.blocks = text, []
    else:
        message.text, message.blocks = text or message.text, named(team, blocks)
    if metadata is not None:
        # "To remove previous `metadata`, include an empty object."
        message.metadata = metadata or None
    message.edited = True
    shown = message_json(team, message, metadata=True)
    return {"channel": channel.id, "ts": message.ts, "text": message.text, "message": shown}


def delete(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/chat.delete"""
    channel = team.entered(args.needed("channel"))
    message = own(channel, args, team.bot_user, "cant_delete_message")
    if channel.thread(message.ts) == [message]:
        channel.messages.remove(message)
    else:
        # A thread keeps a tombstone at its head.
        message.subtype, message.user, message.text = "tombstone", "USLACKBOT", "This message was deleted."
        message.blocks, message.metadata, message.files, message.bot_id = [], None, [], None
    return {"channel": channel.id, "ts": message.ts}


def addressed(team: Workspace, channel: str) -> Channel:
    """Where a post goes: to a channel by its id or name, or to a person, who gets it as a direct message.

    https://docs.slack.dev/reference/methods/chat.postMessage#channels
    """
    if channel in team.people:
        between = {channel, team.bot_user}
        direct = [found for found in team.channels.values() if found.kind == "im" and found.members == between]
        return direct[0] if direct else team.channel("", kind="im", members=[channel])
    names = {found.name: found.id for found in team.channels.values() if found.kind == "channel"}
    found = team.seen(names.get(channel.removeprefix("#"), channel))
    if found.archived:
        raise Refused("is_archived")
    if team.bot_user not in found.members and "chat:write.public" not in team.scopes:
        raise Refused("not_in_channel")
    return found


def content(team: Workspace, args: Arguments, most: int) -> tuple[str, list[dict[str, Any]] | None]:
    """The text and the blocks; None: there are none given."""
    given = args.structure("blocks", "invalid_blocks_format")
    blocks = None if given is None else checked(given)
    if blocks and not team.takes_blocks:
        raise invalid("unsupported block", "/blocks/0")
    text = args.text("text")
    if args.has("markdown_text"):
        if text or blocks is not None:
            raise Refused("markdown_text_conflict")
        markdown = args.text("markdown_text")
        if len(markdown) > MOST_MARKDOWN_TEXT:
            raise Refused("msg_too_long")
        return "", checked([{"type": "markdown", "text": markdown}])
    if not text and not blocks and not args.structure("attachments", "invalid_attachments"):
        raise Refused("no_text")
    if len(text) > most:
        raise Refused("msg_too_long")
    for written in (text, *mrkdwn_texts(blocks or [])):
        if UNESCAPED.search(QUOTE.sub("", REFERENCE.sub("", written))):
            team.problems.append(f"&, < or > that is not escaped: {written[:80]!r}")
    return text, blocks


def metadata_of(args: Arguments) -> dict[str, Any] | None:
    """https://docs.slack.dev/messaging/message-metadata; an empty object: none any more."""
    found = args.structure("metadata", "invalid_metadata_format")
    if found is None:
        return None
    if found == {}:
        return {}
    if not (
        isinstance(found, Mapping)
        and isinstance(found.get("event_type"), str)
        and isinstance(found.get("event_payload"), Mapping)
    ):
        raise Refused("invalid_metadata_format")
    if len(json.dumps(found)) > MOST_METADATA_BYTES:
        raise Refused("metadata_too_large")
    return dict(found)


def parent(team: Workspace, channel: Channel, args: Arguments) -> str | None:
    """The `ts` of the thread's first message."""
    ts = args.timestamp("thread_ts", "invalid_thread_ts")
    if not ts:
        return None
    message = channel.at(ts)
    if message is None:
        raise Refused("thread_not_found")
    if message.is_reply:
        # "Avoid using a reply's `ts` value; use its parent instead."
        team.problems.append(f"thread_ts {ts} is a reply's, not its thread's")
        return message.thread_ts
    return ts


def own(channel: Channel, args: Arguments, user: str, refusal: str) -> Message:
    message = channel.at(args.needed("ts"))
    if message is None:
        raise Refused("message_not_found")
    if message.user != user:
        raise Refused(refusal)
    return message


def named(team: Workspace, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Slack gives each block without a `block_id` one."""
    return [{"block_id": team.new_id("b"), **block} for block in blocks]
