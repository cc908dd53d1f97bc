"""Who the bot is, and who is in which user group: asked of Slack now and then, and kept in the process."""

from __future__ import annotations

import threading
import time

from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError

from app.adapters.slack.parse import Me
from app.config.adapters import SlackAdapter as Settings
from app.errors import Unavailable

FRESH_SECONDS = 60.0
"""Somebody who is taken out of a group has its rights for so long yet."""


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
        self._asked_at = 0.0

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

    def groups_of(self, user: str) -> list[str]:
        """The groups that somebody is in, of those that the config names."""
        if not self.groups:
            return []
        with self._lock:
            if not self._members or time.monotonic() - self._asked_at > FRESH_SECONDS:
                self._members = {group: self._members_of(group) for group in self.groups}
                self._asked_at = time.monotonic()
            return [group for group, members in self._members.items() if user in members]

    def _members_of(self, group: str) -> frozenset[str]:
        try:
            # https://docs.slack.dev/reference/methods/usergroups.users.list
            return frozenset(self.client.usergroups_users_list(usergroup=group)["users"])
        except (SlackClientError, OSError) as error:
            raise Unavailable(f"Slack does not say who is in the user group {group}: {said(error)}") from error


def said(error: Exception) -> str:
    """Without what was sent: an error of the library's may quote it."""
    response = getattr(error, "response", None)
    return str(response.get("error")) if response is not None else type(error).__name__
