"""What an app of Slack's is to be allowed and told, and the manifest that makes one so. Pure.

https://docs.slack.dev/reference/app-manifest
"""

from __future__ import annotations

from typing import Any

SCOPES = {
    "app_mentions:read": "mentions of the bot",
    "channels:history": "messages in public channels",
    "channels:read": "heyfleet slack channels",
    "chat:write": "replies",
    "commands": "the slash command",
    "files:read": "files that people send",
    "files:write": "files that the agent sends",
    "groups:history": "messages in private channels",
    "groups:read": "heyfleet slack channels --private",
    "im:history": "direct messages",
    "im:write": "looking up whether a message to a person has arrived",
    "mpim:history": "messages in group conversations",
    "reactions:write": "the reaction while the agent works (progress)",
    "usergroups:read": "user groups in allow and permissions",
    "users:read": "heyfleet slack users",
}
"""Of the bot's token, each with what it is for. https://docs.slack.dev/reference/scopes"""
FOR_LATER = frozenset(("channels:read", "groups:read", "im:write", "users:read"))
"""Without these people and the agent can still talk."""
EVENTS = ("app_mention", "message.channels", "message.groups", "message.im", "message.mpim")


def manifest(*, name: str, command: str, url: str | None) -> dict[str, Any]:
    """`url`: where Slack posts to; None: it sends over a socket."""
    posted = {} if url is None else {"url": url}
    requested = {} if url is None else {"request_url": url}
    slash = {
        "command": command,
        **posted,
        "description": "Orders to the agent's fleet",
        "usage_hint": "status, approvals, approve ID …",
        "should_escape": False,
    }
    # Without the messages tab nobody can write to the bot alone.
    home = {"home_tab_enabled": False, "messages_tab_enabled": True, "messages_tab_read_only_enabled": False}
    return {
        "display_information": {"name": name, "description": "An agent to talk with"},
        "features": {
            "app_home": home,
            "bot_user": {"display_name": name, "always_online": True},
            "slash_commands": [slash],
        },
        "oauth_config": {"scopes": {"bot": sorted(SCOPES)}},
        "settings": {
            "event_subscriptions": {**requested, "bot_events": list(EVENTS)},
            "interactivity": {"is_enabled": True, **requested},
            "org_deploy_enabled": False,
            "socket_mode_enabled": url is None,
            "token_rotation_enabled": False,
        },
    }
