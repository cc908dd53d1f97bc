"""Who the bot is, and who is in which user group: asked of Slack now and then, and kept in the process."""

from __future__ import annotations

import math
import threading
import time

import structlog
from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError

from app.adapters.slack.answers import refusal
from app.adapters.slack.parse import Me
from app.config.adapters import SlackAdapter as Settings
from app.errors import Permanent, Transient, Unavailable
from app.results import Failed, Retry
from app.traffic import EVERYWHERE

log = structlog.get_logger()

FRESH_SECONDS = 60.0
"""Somebody who is taken out of a group has its rights for so long yet."""
STALE_SECONDS = 600.0
"""And for so long where Slack does not answer."""
AGAIN_AFTER = 10.0


class Account:
    """Used from many threads. Raises Unavailable where Slack does not tell: then nobody is let in by a guess."""

    def __init__(self, client: WebClient, settings: Settings) -> None:
        self.client = client
        lists = [settings.allow, settings.permissions.approvers, settings.permissions.admins]
        self.groups = sorted({group for people in lists if people is not None for group in people.groups})
        """Those that anything is made to depend on."""
        self._lock = threading.Lock()
        self._me: Me | None = None
        self._members: dict[str, frozenset[str]] = {}
        self._asking = threading.Lock()
        self._directs: dict[str, str] = {}
        self._asked_at = self._known_at = -math.inf
        self._why = ""

    def me(self) -> Me:
        with self._lock:
            if self._me is None:
                try:
                    # https://docs.slack.dev/reference/methods/auth.test
                    answer = self.client.auth_test()
                except (SlackClientError, OSError) as error:
                    raise Unavailable(f"Slack does not say who the bot is: {said(error)}") from error
                self._me = Me(str(answer["user_id"]), str(answer.get("bot_id") or ""))
            return self._me

    def direct(self, user: str) -> str:
        """The channel of the direct messages with somebody. Raises Transient and Permanent."""
        if user not in self._directs:
            try:
                # https://docs.slack.dev/reference/methods/conversations.open
                self._directs[user] = str(self.client.conversations_open(users=user)["channel"]["id"])
            except (SlackClientError, OSError) as error:
                failed = refusal(error, EVERYWHERE)
                why = f"Slack does not open the direct messages with {user}: {failed.reason}"
                raise (Permanent(why) if isinstance(failed, Failed) else Transient(why)) from error
        return self._directs[user]

    def groups_of(self, user: str) -> list[str]:
        """The groups that somebody is in, of those that the config names."""
        if not self.groups:
            return []
        self._refresh()
        with self._lock:
            if time.monotonic() - self._known_at > STALE_SECONDS:
                raise Unavailable(f"Slack does not say who is in the user groups {', '.join(self.groups)}: {self._why}")
            return [group for group, members in self._members.items() if user in members]

    def _refresh(self) -> None:
        """Ask Slack, where it is time to: one thread does, and the others go on with what is known, if anything is."""
        with self._lock:
            fresh = time.monotonic() - self._asked_at < FRESH_SECONDS
            known = time.monotonic() - self._known_at <= STALE_SECONDS
        if fresh or not self._asking.acquire(blocking=not known):
            return
        try:
            with self._lock:
                if time.monotonic() - self._asked_at < FRESH_SECONDS:
                    return
            self._ask()
        finally:
            self._asking.release()

    def _ask(self) -> None:
        try:
            members = self._members_of_all()
        except (SlackClientError, OSError) as error:
            failed = refusal(error, EVERYWHERE)
            wait = failed.after if isinstance(failed, Retry) and failed.after else AGAIN_AFTER
            with self._lock:
                # Not again with each event, which would only make it worse.
                self._asked_at, self._why = time.monotonic() - FRESH_SECONDS + wait, said(error)
            log.warning("groups_unknown", error=said(error))
            return
        with self._lock:
            self._members = members
            self._asked_at = self._known_at = time.monotonic()

    def _members_of_all(self) -> dict[str, frozenset[str]]:
        """With one request, whatever their number: Slack lets a workspace's apps make about 20 a minute.
        https://docs.slack.dev/reference/methods/usergroups.list"""
        told = self.client.usergroups_list(include_users=True)["usergroups"]
        found = {str(group["id"]): frozenset(map(str, group.get("users") or ())) for group in told}
        for group in sorted(set(self.groups) - found.keys()):
            log.warning("group_unknown", group=group, cure="compare the ids of allow and permissions with Slack's")
        return {group: found.get(group, frozenset()) for group in self.groups}


def said(error: Exception) -> str:
    """Without what was sent: an error of the library's may quote it."""
    response = getattr(error, "response", None)
    return str(response.get("error")) if response is not None else type(error).__name__
