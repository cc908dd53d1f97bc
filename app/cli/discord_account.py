"""What Discord tells about the bot: whether it can do its work, and who and what is there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2 as httpx

from app.adapters.discord.api import DEFAULT_PAUSE, TIMEOUT, Api, Refusal
from app.adapters.discord.parse import SAID
from app.cli.findings import Finding
from app.config.adapters import DiscordAdapter as Settings
from app.errors import HeyfleetError, Refused, Unavailable

MESSAGE_CONTENT = 1 << 18 | 1 << 19
"""For many servers and for few.
https://discord.com/developers/docs/resources/application#application-object-application-flags"""
FEW_STARTS = 50
# https://discord.com/developers/docs/topics/permissions#permissions-bitwise-permission-flags
ADD_REACTIONS, VIEW_CHANNEL, SEND_MESSAGES, EMBED_LINKS = 1 << 6, 1 << 10, 1 << 11, 1 << 14
ATTACH_FILES, READ_MESSAGE_HISTORY, SEND_MESSAGES_IN_THREADS = 1 << 15, 1 << 16, 1 << 38
PERMISSIONS = (
    ADD_REACTIONS
    | VIEW_CHANNEL
    | SEND_MESSAGES
    | EMBED_LINKS
    | ATTACH_FILES
    | READ_MESSAGE_HISTORY
    | SEND_MESSAGES_IN_THREADS
)
# https://discord.com/developers/docs/resources/channel#channel-object-channel-types
KINDS = {0: "text", 2: "voice", 5: "announcement", 13: "stage", 15: "forum", 16: "media"}
TALKED_IN = (0, 2, 5, 13)
PAGE = 200
"""https://discord.com/developers/docs/resources/user#get-current-user-guilds"""
PAUSE = 2.0
PATIENT_TRIES = 5
AT_FIRST, CHANNELS_AT_FIRST = 5, 25
"""The latest messages that are shown from the liveliest channels; after that, all that are new."""
LATER = 100


def findings(settings: Settings) -> Iterator[Finding]:
    """What is right and wrong with the bot. Where Discord is out of reach, that is all."""
    what, api = f"discord {settings.name}", Api(settings)
    try:
        me, application, gateway = (
            asked(api, path, timeout=5.0) for path in ("/users/@me", "/applications/@me", "/gateway/bot")
        )
    except HeyfleetError as error:
        yield Finding(f"{what} token", "error", error.message)
        return
    yield Finding(f"{what} token", "ok", f"the bot is {me['username']} ({me['id']})")
    if int(application.get("flags") or 0) & MESSAGE_CONTENT:
        yield Finding(f"{what} intents", "ok", "the bot may read what messages say")
    else:
        cure = "switch on Message Content Intent on the application's page, under Bot"
        yield Finding(f"{what} intents", "error", f"the bot may not read what messages say: {cure}")
    yield interactions(settings, application)
    yield from of_gateway(settings, gateway)


def interactions(settings: Settings, application: Mapping[str, Any]) -> Finding:
    """Commands and buttons come by HTTP or by the gateway, never by both.
    https://discord.com/developers/docs/interactions/overview#preparing-for-interactions"""
    what = f"discord {settings.name} interactions"
    url, path = str(application.get("interactions_endpoint_url") or ""), f"/discord/{settings.name}/interactions"
    endpoint = "Interactions Endpoint URL on the application's page"
    if settings.public_key is None and url:
        key = "set public_key, as that page shows it"
        return Finding(what, "error", f"they are posted to {host(url)}, past the gateway: clear {endpoint}, or {key}")
    if settings.public_key is None:
        return Finding(what, "ok", "commands and buttons come by the gateway")
    if application.get("verify_key") != settings.public_key:
        return Finding(what, "error", "public_key is of another application: copy it from the application's page")
    if not url:
        return Finding(what, "error", f"public_key is set: set {endpoint} to https://HOST{path}, or leave the key out")
    if not urlsplit(url).path.endswith(path):
        return Finding(what, "error", f"they are posted to another path of {host(url)}: set {endpoint} to …{path}")
    return Finding(what, "ok", f"commands and buttons are posted to {host(url)}")


def of_gateway(settings: Settings, gateway: Mapping[str, Any]) -> Iterator[Finding]:
    """https://discord.com/developers/docs/events/gateway#get-gateway-bot"""
    what, limit = f"discord {settings.name} sessions", gateway["session_start_limit"]
    left, total, advised = int(limit["remaining"]), int(limit["total"]), int(gateway["shards"])
    hours = int(limit["reset_after"]) / 3_600_000
    said = f"{left} of {total} new sessions are left for the next {hours:.0f} h"
    if left <= FEW_STARTS:
        yield Finding(what, "warning", f"{said}: see in the gateway's log why it begins anew so often")
    else:
        yield Finding(what, "ok", said)
    if advised > settings.shards:
        yield Finding(what, "warning", f"Discord advises {advised} shards, and shards is {settings.shards}: raise it")


def host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def invitation(settings: Settings) -> str:
    """Raises Refused and Unavailable. https://discord.com/developers/docs/topics/oauth2#bot-authorization-flow"""
    application = asked(Api(settings), "/applications/@me")
    params = {
        "client_id": application["id"],
        "scope": "bot applications.commands",
        "permissions": PERMISSIONS,
    }
    return f"https://discord.com/oauth2/authorize?{urlencode(params)}"


# --- who and what is there


def channels(settings: Settings) -> Iterator[dict[str, Any]]:
    """Raises Refused and Unavailable."""
    for guild, channel in all_channels(Api(settings)):
        if channel["type"] in KINDS:
            yield {
                "id": channel["id"],
                "name": str(channel.get("name") or ""),
                "kind": KINDS[channel["type"]],
                "server": str(guild["name"]),
                "server_id": guild["id"],
            }


def all_channels(api: Api) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each with its guild; without threads. https://discord.com/developers/docs/resources/guild#get-guild-channels"""
    after = "0"
    while True:
        guilds = asked(api, f"/users/@me/guilds?limit={PAGE}&after={after}")
        for guild in guilds:
            for channel in asked(api, f"/guilds/{guild['id']}/channels"):
                yield guild, channel
        if len(guilds) < PAGE:
            return
        after = guilds[-1]["id"]


def observed(settings: Settings, seconds: float) -> Iterator[dict[str, Any]]:
    """The latest messages, then those that come. Raises Refused and Unavailable."""
    api, deadline = Api(settings), time.monotonic() + seconds
    heard: dict[str, int] = {}
    while True:
        found = [each for each in all_channels(api) if each[1]["type"] in TALKED_IN]
        found.sort(key=lambda each: last_of(each[1]), reverse=True)
        for number, (guild, channel) in enumerate(found):
            before = heard.get(channel["id"])
            told = news(api, channel, before, lively=number < CHANNELS_AT_FIRST)
            heard[channel["id"]] = max([before or 0, last_of(channel), *(int(message["id"]) for message in told)])
            yield from (row_of(guild, channel, message) for message in told if message.get("type", 0) in SAID)
        if time.monotonic() + PAUSE >= deadline:
            return
        time.sleep(PAUSE)  # by this way Discord tells nobody of what is new: it is asked again, until the deadline


def last_of(channel: Mapping[str, Any]) -> int:
    return int(channel.get("last_message_id") or 0)


def news(api: Api, channel: Mapping[str, Any], before: int | None, *, lively: bool) -> list[dict[str, Any]]:
    """What was said after `before`, oldest first; the latest for None. Nothing where the bot may not look.
    https://discord.com/developers/docs/resources/message#get-channel-messages"""
    wanted = last_of(channel) > (before or 0) and (lively or before is not None)
    if not wanted:
        return []
    which = f"limit={AT_FIRST}" if before is None else f"limit={LATER}&after={before}"
    return list(reversed(asked(api, f"/channels/{channel['id']}/messages?{which}", otherwise=[])))


def row_of(guild: Mapping[str, Any], channel: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    author = message["author"]
    return {
        "channel": channel["id"],
        "channel_name": str(channel.get("name") or ""),
        "user": author["id"],
        "name": str(author.get("global_name") or author["username"]),
        "bot": bool(author.get("bot") or message.get("webhook_id")),
        "server": str(guild["name"]),
    }


# --- asking


def asked(api: Api, path: str, *, otherwise: Any = None, timeout: float = TIMEOUT) -> Any:
    """`otherwise`: what it is where the bot may not see it. Waits when told to. Raises Refused and Unavailable."""
    for attempt in range(PATIENT_TRIES):
        try:
            return understood(api.call("GET", path, timeout=timeout))
        except Refusal as error:
            if error.status == 429 and attempt < PATIENT_TRIES - 1:
                # As long as Discord says, and a minute at most.
                time.sleep(min(float(error.answer.get("retry_after") or DEFAULT_PAUSE), 60.0))
                continue
            if error.status in (403, 404) and otherwise is not None:
                return otherwise
            if error.status == 401:
                cure = "compare bot_token with the application's page, under Bot"
                raise Refused(f"Discord says {error}: {cure}") from error
            raise Refused(f"Discord refuses {path.partition('?')[0]}: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = f"Discord is out of reach ({type(error).__name__}): see to the network of this machine"
            raise Unavailable(f"{why}, and to api_url") from error
    raise AssertionError("unreachable")


def understood(answer: Any) -> Any:
    """A wrong address answers with a page of Discord's site. Raises Refused."""
    if answer is None or answer == {}:
        raise Refused("what answers is not Discord's API: see to api_url, or leave it out")
    return answer
