"""What Slack tells about the app: whether it can do its work, and who and what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.client import HTTPException
from typing import Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler
from slack_sdk.web import SlackResponse

from app.adapters.slack.account import said
from app.cli.findings import Finding
from app.cli.slack_manifest import FOR_LATER, SCOPES
from app.config.adapters import SlackAdapter as Settings
from app.errors import HeyfleetError, Refused, Unavailable

PAGE = 999
"""https://docs.slack.dev/reference/methods/conversations.list: under 1000."""
PATIENT_TRIES = 5
ERRORS = (SlackClientError, HTTPException, OSError, ValueError)
REINSTALL = "under OAuth & Permissions on the app's page, and install the app again"
WRONG_TOKEN = ("invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive")


def findings(settings: Settings) -> Iterator[Finding]:
    """What is right and wrong with the app. Where Slack is out of reach, that is all."""
    what = f"slack {settings.name}"
    try:
        answer = asked(lambda: client(settings, timeout=5).auth_test(), "bot_token")
    except HeyfleetError as error:
        yield Finding(f"{what} token", "error", error.message)
        return
    bot = f"{answer['user']} ({answer['user_id']}) in {answer['team']} ({answer['team_id']})"
    yield Finding(f"{what} token", "ok", f"the bot is {bot}")
    yield from of_scopes(settings, scopes_of(answer))
    yield socket(settings) if settings.mode == "socket" else http(settings)


def of_scopes(settings: Settings, given: frozenset[str]) -> Iterator[Finding]:
    what = f"slack {settings.name} scopes"
    missing = [scope for scope in needed(settings) if scope not in given]
    if not missing:
        yield Finding(what, "ok", "the app has all that it needs")
    urgent = [scope for scope in missing if scope not in FOR_LATER]
    if urgent:
        yield Finding(what, "error", f"without {listed(urgent)}: add them {REINSTALL}")
    if len(urgent) < len(missing):
        rest = [scope for scope in missing if scope in FOR_LATER]
        yield Finding(what, "warning", f"without {listed(rest)}: add them {REINSTALL}")


def needed(settings: Settings) -> list[str]:
    """The scopes that this configuration makes use of."""
    people = [settings.allow, settings.permissions.approvers, settings.permissions.admins]
    unused = set() if settings.progress else {"reactions:write"}
    if not any(each.groups for each in people if each is not None):
        unused.add("usergroups:read")
    return [scope for scope in SCOPES if scope not in unused]


def listed(scopes: list[str]) -> str:
    return ", ".join(f"{scope} ({SCOPES[scope]})" for scope in scopes)


def scopes_of(answer: SlackResponse) -> frozenset[str]:
    """Each answer tells them. https://docs.slack.dev/authentication/installing-with-oauth#scopes"""
    for name, value in answer.headers.items():
        if name.lower() == "x-oauth-scopes":
            text = value if isinstance(value, str) else ",".join(value)
            return frozenset(scope.strip() for scope in text.split(","))
    return frozenset()


def socket(settings: Settings) -> Finding:
    """Whether a connection would be given; none is made. https://docs.slack.dev/reference/methods/apps.connections.open"""
    what, token = f"slack {settings.name} socket", settings.app_token
    try:
        web = client(settings, timeout=5)
        asked(lambda: web.apps_connections_open(app_token=token.get_secret_value() if token else ""), "app_token")
    except HeyfleetError as error:
        return Finding(what, "error", error.message)
    return Finding(what, "ok", "Slack gives connections; the gateway process holds one")


def http(settings: Settings) -> Finding:
    """What Slack posts to, and whether the signing secret is right, no method tells."""
    path = f"/slack/{settings.name}/events"
    said = f"events, interactivity and {settings.command} are to be posted to https://HOST{path}"
    return Finding(f"slack {settings.name} http", "ok", f"{said}; heyfleet slack manifest sets all three")


# --- who and what is there


def channels(settings: Settings, *, private: bool) -> Iterator[dict[str, Any]]:
    """Raises Refused and Unavailable. https://docs.slack.dev/reference/methods/conversations.list"""
    types = "public_channel,private_channel" if private else "public_channel"
    web = client(settings)
    for channel in paged(lambda **page: web.conversations_list(types=types, exclude_archived=True, **page), "channels"):
        yield {
            "id": channel["id"],
            "name": str(channel.get("name") or ""),
            "private": bool(channel.get("is_private")),
            "bot_is_in": bool(channel.get("is_member")),
            "members": channel.get("num_members"),
        }


def users(settings: Settings, *, bots: bool) -> Iterator[dict[str, Any]]:
    """Raises Refused and Unavailable. https://docs.slack.dev/reference/methods/users.list"""
    web = client(settings)
    for user in paged(web.users_list, "members"):
        # Slack's own is none of a workspace's apps, and still no person.
        bot = bool(user.get("is_bot")) or user["id"] == "USLACKBOT"
        if user.get("deleted") or (bot and not bots):
            continue
        profile = user.get("profile") or {}
        yield {
            "id": user["id"],
            "name": str(user.get("name") or ""),
            "display_name": str(profile.get("display_name") or ""),
            "real_name": str(profile.get("real_name") or user.get("real_name") or ""),
            "bot": bot,
        }


def paged(ask: Callable[..., SlackResponse], field: str) -> Iterator[Mapping[str, Any]]:
    """https://docs.slack.dev/apis/web-api/pagination"""
    cursor = ""
    while True:
        answer = asked(partial(ask, limit=PAGE, cursor=cursor or None), "bot_token")
        yield from answer[field]
        cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
        if not cursor:
            return


# --- asking


def client(settings: Settings, timeout: int = 30) -> WebClient:
    """One that waits when it is told to."""
    patient = RateLimitErrorRetryHandler(max_retry_count=PATIENT_TRIES)
    token = settings.bot_token.get_secret_value()
    return WebClient(token, settings.api_url, timeout=timeout, retry_handlers=[patient])


def asked(ask: Callable[[], SlackResponse], key: str) -> SlackResponse:
    """`key`: of what was asked with. Raises Refused and Unavailable, each with its cure."""
    try:
        return ask()
    except ERRORS as error:
        response = getattr(error, "response", None)
        if response is None:
            why = f"Slack is out of reach ({said(error)}): see to the network of this machine"
            raise Unavailable(f"{why}, and to api_url") from error
        raise Refused(refusal(str(response.get("error")), str(response.get("needed") or ""), key)) from error


def refusal(error: str, scope: str, key: str) -> str:
    where = "Basic Information, App-Level Tokens" if key == "app_token" else "OAuth & Permissions"
    if error in WRONG_TOKEN:
        return f"Slack says {error}: compare {key} with the app's page, under {where}"
    if error == "not_allowed_token_type":
        return f"Slack says {error}: {key} begins with {'xapp-' if key == 'app_token' else 'xoxb-'}"
    if error == "missing_scope" and key == "app_token":
        return f"Slack says {error}: make an app-level token with connections:write, under {where}"
    if error == "missing_scope":
        return f"Slack says {error}: add {scope} {REINSTALL}"
    # What is no JSON is quoted by the library, all of it.
    short = " ".join(error.split())[:80]
    return f"Slack says {short}: https://docs.slack.dev/reference/methods tells what each error means"
