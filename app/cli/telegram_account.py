"""What Telegram tells about the bot: whether it can do its work, and who writes to it from where."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx

from app.adapters.telegram.api import TIMEOUT, Api, Refusal
from app.adapters.telegram.menu import set_menu
from app.adapters.telegram.parse import UPDATES, webhook_secret
from app.cli.context import plain
from app.cli.findings import Finding
from app.clock import now
from app.config.adapters import TelegramAdapter as Settings
from app.errors import HeyfleetError, Refused, Unavailable

MANY = 20
"""Updates that wait: fewer may be on their way."""
RECENT_SECONDS = 3600.0
LONGEST_POLL = 10
MOST_UPDATES = 100
"""https://core.telegram.org/bots/api#getupdates"""
PAUSE = 1.0
SHOWN = ("message", "channel_post", "my_chat_member")
"""The last one tells that the bot was added to a group, whatever it may read there."""


def findings(settings: Settings) -> Iterator[Finding]:
    """What is right and wrong with the bot. Where Telegram is out of reach, that is all."""
    what, api = f"telegram {settings.name}", Api(settings)
    try:
        me, webhook = asked(api, "getMe", {}, 5.0), asked(api, "getWebhookInfo", {}, 5.0)
    except HeyfleetError as error:
        yield Finding(f"{what} token", "error", error.message)
        return
    yield Finding(f"{what} token", "ok", f"the bot is @{me.get('username')} ({me['id']})")
    yield mode(settings, str(webhook.get("url") or ""))
    yield from of_updates(settings, webhook)
    yield privacy(settings, reads_all=bool(me.get("can_read_all_group_messages")))


def mode(settings: Settings, url: str) -> Finding:
    """Telegram either posts updates or is asked for them. https://core.telegram.org/bots/api#getting-updates"""
    what, setting = f"telegram {settings.name} mode", f"heyfleet telegram set-webhook --adapter {settings.name} --url"
    # Not all of it: others' webhooks have their token in the path.
    host = urlsplit(url).netloc.rpartition("@")[2]
    if settings.mode == "polling" and url:
        cure = f"heyfleet telegram delete-webhook --adapter {settings.name}, or set mode: webhook"
        return Finding(what, "error", f"a webhook is set ({host}), so that polling gets nothing: {cure}")
    if settings.mode == "polling":
        return Finding(what, "ok", "no webhook is set; the gateway process polls")
    if not url:
        return Finding(what, "error", f"no webhook is set: {setting} https://HOST, or set mode: polling")
    if not urlsplit(url).path.endswith(path_of(settings)):
        return Finding(what, "error", f"the webhook ({host}) is not {path_of(settings)}: {setting} https://HOST")
    return Finding(what, "ok", f"Telegram posts to {host}")


def of_updates(settings: Settings, webhook: Mapping[str, Any]) -> Iterator[Finding]:
    """https://core.telegram.org/bots/api#webhookinfo"""
    what, count = f"telegram {settings.name} updates", int(webhook.get("pending_update_count") or 0)
    cure = "see that a gateway runs" if settings.mode == "polling" else "see that Telegram reaches the web process"
    yield Finding(what, "warning", f"{count} wait: {cure}") if count >= MANY else Finding(what, "ok", f"{count} wait")
    if settings.mode == "polling":
        return
    failed_at, said = int(webhook.get("last_error_date") or 0), str(webhook.get("last_error_message") or "")
    if failed_at and now().timestamp() - failed_at < RECENT_SECONDS:
        at = plain(datetime.fromtimestamp(failed_at, now().tzinfo))
        yield Finding(what, "warning", f"the last failure was at {at}: {said}; {refused(said)}")
    # Telegram names them where they are others than its own.
    wanted = webhook.get("allowed_updates")
    if wanted and not set(UPDATES) <= set(wanted):
        missing = ", ".join(sorted(set(UPDATES) - set(wanted)))
        yield Finding(what, "error", f"Telegram does not tell of {missing}: run heyfleet telegram set-webhook again")


def refused(said: str) -> str:
    if "401" in said:
        return "the secret is another one: run heyfleet telegram set-webhook again"
    return "see the web process's log, and that the URL is right"


def privacy(settings: Settings, *, reads_all: bool) -> Finding:
    """https://core.telegram.org/bots/features#privacy-mode"""
    what = f"telegram {settings.name} privacy"
    if reads_all:
        return Finding(what, "ok", "the bot reads all messages of its groups")
    cure = "to change that: @BotFather, /setprivacy, Disable; then take the bot out of its groups and add it again"
    said = f"in groups the bot gets only commands, mentions and replies to it (privacy mode); {cure}"
    if settings.trigger == "message":
        return Finding(what, "warning", f"trigger: message has no effect, for {said}")
    return Finding(what, "ok", said)


# --- the webhook


def path_of(settings: Settings) -> str:
    return f"/telegram/{settings.name}/webhook"


def set_webhook(settings: Settings, url: str) -> None:
    """Raises Refused and Unavailable. https://core.telegram.org/bots/api#setwebhook"""
    api = Api(settings)
    params = {"url": url, "secret_token": webhook_secret(settings), "allowed_updates": list(UPDATES)}
    asked(api, "setWebhook", params)
    try:
        set_menu(api, settings.command)
    except (Refusal, httpx.HTTPError) as error:
        raise problem("setMyCommands", error) from error


def delete_webhook(settings: Settings) -> None:
    """What waits stays. Raises Refused and Unavailable. https://core.telegram.org/bots/api#deletewebhook"""
    asked(Api(settings), "deleteWebhook", {})


# --- who writes from where


def observed(settings: Settings, seconds: float) -> Iterator[dict[str, Any]]:
    """Each message once, from those that wait already. Nothing is confirmed: whoever asks next gets it all again.
    Raises Refused and Unavailable."""
    api, seen, deadline = Api(settings), set[int](), time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        poll = min(LONGEST_POLL, int(left))
        # No `allowed_updates`: it would stay in force.
        updates = asked(api, "getUpdates", {"timeout": poll, "limit": MOST_UPDATES}, poll + 5.0)
        for update in updates:
            row = None if update["update_id"] in seen else row_of(update)
            seen.add(update["update_id"])
            if row is not None:
                yield row
        if len(updates) == MOST_UPDATES:
            raise Refused(f"{MOST_UPDATES} updates wait, and later ones aren't told before them: start a gateway")
        # What waits is answered at once, and so is who asks for less than a second.
        time.sleep(max(0.0, min(PAUSE if updates or not poll else 0.0, deadline - time.monotonic())))


def row_of(update: Mapping[str, Any]) -> dict[str, Any] | None:
    told = next((update[kind] for kind in SHOWN if kind in update), None)
    if told is None:
        return None
    chat, sender = told["chat"], told.get("from") or {}
    return {
        "chat": str(chat["id"]),
        "title": str(chat.get("title") or chat.get("username") or name_of(chat)),
        "topic": told.get("message_thread_id") if told.get("is_topic_message") else None,
        "user": str(sender.get("id") or ""),
        "name": " ".join(filter(None, (name_of(sender), f"@{sender['username']}" if sender.get("username") else ""))),
    }


def name_of(somebody: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (somebody.get("first_name"), somebody.get("last_name"))))


# --- asking


def asked(api: Api, method: str, params: Mapping[str, Any], timeout: float = TIMEOUT) -> Any:
    """Raises Refused and Unavailable, each with its cure."""
    try:
        return api.call(method, params, timeout=timeout)
    except (Refusal, httpx.HTTPError, httpx.InvalidURL) as error:
        raise problem(method, error) from error


def problem(method: str, error: Exception) -> HeyfleetError:
    """Without the URL, which has the token in it."""
    match error:
        case Refusal(code=401) | Refusal(code=404):
            return Refused(f"Telegram says {error}: compare bot_token with what @BotFather says")
        case Refusal(code=409) if "webhook" in error.description:
            return Refused("a webhook is set, so that Telegram can't be asked: heyfleet telegram delete-webhook first")
        case Refusal(code=409):
            return Refused("somebody polls with this bot's token, a gateway or another program: stop it meanwhile")
        case Refusal():
            return Refused(f"Telegram refuses {method}: {error}")
        case _:
            why = f"Telegram is out of reach ({type(error).__name__}): see to the network of this machine"
            return Unavailable(f"{why}, and to api_url")
