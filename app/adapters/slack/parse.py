"""What Slack tells of, as heyfleet understands it. Pure."""

from __future__ import annotations

import hashlib
import hmac
import html
import re
from collections.abc import Mapping
from typing import Any, Literal

from app.config.adapters import SlackAdapter as Settings
from app.traffic import Happening, Ordered, Pressed, Said, Sender, forwarded

APPROVE, BYPASS, DENY = "heyfleet_approve", "heyfleet_bypass", "heyfleet_deny"
"""The actions of a card's buttons."""
DECISIONS: Mapping[str, tuple[Literal["approve", "deny"], bool]] = {
    APPROVE: ("approve", False),
    BYPASS: ("approve", True),
    DENY: ("deny", False),
}

SAID = {None, "file_share", "thread_broadcast", "bot_message", "me_message"}
"""Subtypes of `message` that somebody said; the others tell of edits, joins and the like.
https://docs.slack.dev/reference/events/message"""
IN_THE_CHANNEL = ("channel", "same")
"""Placements with which what is said in a channel is answered there, and not in a thread."""
LINK = re.compile(r"<([^<>|]+)(?:\|([^<>]*))?>")


class Me:
    """Who the bot is, as Slack's `auth.test` says."""

    def __init__(self, user: str, bot: str) -> None:
        self.user = user
        self.bot = bot


def event_of(payload: Mapping[str, Any], settings: Settings, me: Me) -> Said | None:
    """The message that an `event_callback` tells of; None where it tells of something else, or of the bot's own."""
    event = payload.get("event") or {}
    kind, subtype = event.get("type"), event.get("subtype")
    if kind not in ("message", "app_mention") or subtype not in SAID or not event.get("channel"):
        return None
    sender = event.get("user") or event.get("bot_id")
    if not sender or me.user in (event.get("user"), sender) or (me.bot and event.get("bot_id") == me.bot):
        return None
    text, channel = str(event.get("text") or ""), str(event["channel"])
    dm = event.get("channel_type") == "im" or channel.startswith("D")
    root, ts = event.get("thread_ts"), str(event["ts"])
    flat = settings.response.placement in IN_THE_CHANNEL and not dm and root is None
    to_us = root is not None and event.get("parent_user_id") == me.user
    shares = [attachment for attachment in event.get("attachments") or () if attachment.get("is_share")]
    return Said(
        sender=Sender(str(sender), bot="bot_id" in event),
        channel=channel,
        text=plain(text, me),
        # Not client_msg_id, which an app_mention need not have: both events of one post have the same time stamp.
        event_key=f"message {channel} {ts}",
        key=key_of(channel, root, ts, settings, dm=dm),
        reply={"channel": channel, "thread": thread_of(root, ts, settings, dm=dm), "message": ts},
        dm=dm,
        meant=f"<@{me.user}>" in text or f"<@{me.user}|" in text,
        in_thread=root is not None,
        flat=flat,
        answers=f"{channel} {root}" if to_us else "",
        answered_at=channel,
        files=[file_of(file) for shared in (event, *shares) for file in shared.get("files") or () if file.get("id")],
        quoted="\n\n".join(filter(None, map(quoted, shares))),
    )


def quoted(share: Mapping[str, Any]) -> str:
    """A message that was forwarded: https://docs.slack.dev/reference/events/message tells of it as an attachment."""
    text = html.unescape(LINK.sub(shown, str(share.get("text") or share.get("fallback") or ""))).strip()
    who = str(share.get("author_name") or share.get("author_id") or "somebody")
    return forwarded(who, text) if text else ""


def key_of(channel: str, root: str | None, ts: str, settings: Settings, *, dm: bool) -> str:
    """A thread is a conversation, and so is a direct message's channel; else each message begins one."""
    if root is not None:
        return f"{channel} {root}"
    if dm and settings.response.placement != "thread":
        return channel
    return f"{channel} m{ts}" if settings.response.placement in IN_THE_CHANNEL else f"{channel} {ts}"


def thread_of(root: str | None, ts: str, settings: Settings, *, dm: bool) -> str | None:
    """The thread that the reply goes to; None: the channel itself."""
    match settings.response.placement:
        case "channel":
            return None
        case "same":
            return root
        case "thread":
            return root or ts
        case "auto":
            return root if dm else root or ts


def plain(text: str, me: Me) -> str:
    """A message as people read it: Slack's escapes undone, links as their addresses, without the bot's own mention at
    its beginning."""
    mine = re.compile(rf"^\s*<@{re.escape(me.user)}(\|[^>]*)?>[\s:,]*")
    return html.unescape(LINK.sub(shown, mine.sub("", text))).strip()


def shown(found: re.Match[str]) -> str:
    target, label = found[1], found[2]
    if target[0] in "@#!":
        # People and channels stay as they are, so that the model can name them; `<!date^…|text>` becomes its text.
        return label if target.startswith("!") and label else found[0].replace("<", "&lt;").replace(">", "&gt;")
    # What Slack made a link of by itself is what was typed: `curl example.com` is to stay a command.
    if not label:
        return target
    return label if bare(label) == bare(target) else f"{label} ({target})"


def bare(link: str) -> str:
    return re.sub(r"^(https?://|mailto:|tel:)", "", link).rstrip("/")


def file_of(file: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": str(file.get("name") or file.get("title") or file["id"]),
        "media_type": str(file.get("mimetype") or "application/octet-stream"),
        "size": int(file.get("size") or 0),
        # Of a file of another workspace Slack tells no more than its id.
        "source": {
            "id": file["id"],
            "url": file.get("url_private_download") or file.get("url_private"),
            "html": file.get("mimetype") == "text/html",
        },
    }


def order_of(form: Mapping[str, str], salt: bytes) -> Ordered:
    """A slash command. Slack gives it no id of its own that may be kept: what it is told apart by is kept as a hash.
    https://docs.slack.dev/interactivity/implementing-slash-commands"""
    team, channel, user = form.get("team_id", ""), form.get("channel_id", ""), form.get("user_id", "")
    parts = [form.get("command", ""), team, channel, user, form.get("text", ""), form.get("trigger_id", "")]
    digest = hmac.new(salt, "\0".join(parts).encode(), hashlib.sha256).hexdigest()
    return Ordered(
        sender=Sender(user),
        channel=channel,
        text=html.unescape(form.get("text", "")).strip(),
        event_key=f"order {digest}",
        key=channel,
        reply={"channel": channel, "thread": None},
        dm=channel.startswith("D"),
    )


def pressed_of(payload: Mapping[str, Any]) -> Pressed | None:
    """The button of a card that was pressed; None for any other interaction.
    https://docs.slack.dev/reference/interaction-payloads/block_actions-payload"""
    if payload.get("type") != "block_actions":
        return None
    channel = str((payload.get("channel") or {}).get("id") or "")
    for action in payload.get("actions") or ():
        if action.get("action_id") in DECISIONS:
            decision, bypass = DECISIONS[action["action_id"]]
            return Pressed(
                sender=Sender(str(payload["user"]["id"])),
                channel=channel,
                approval=str(action.get("value") or ""),
                decision=decision,
                bypass=bypass,
                dm=channel.startswith("D"),
            )
    return None


def happening_of(kind: str, payload: Mapping[str, Any], settings: Settings, me: Me, salt: bytes) -> Happening | None:
    """What came by Socket Mode, by the `type` of its envelope."""
    match kind:
        case "events_api":
            return event_of(payload, settings, me)
        case "slash_commands":
            return order_of({name: str(value) for name, value in payload.items()}, salt)
        case "interactive":
            return pressed_of(payload)
        case _:
            return None
