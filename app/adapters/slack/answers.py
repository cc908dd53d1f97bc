"""What an answer of Slack's means: did it arrive, may it be sent again, is it refused for good."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error

from slack_sdk.errors import SlackApiError, SlackClientError

from app.results import Ambiguous, Failed, Retry

NOT_NOW = frozenset(("ratelimited", "rate_limited", "service_unavailable", "team_added_to_org"))
"""Slack says that nothing was done. https://docs.slack.dev/reference/methods/chat.postMessage#errors"""
UNCLEAR = frozenset(("fatal_error", "internal_error", "request_timeout"))
"""Slack says that some of it may have been done."""
DEFAULT_PAUSE = 30.0
LONGEST_PAUSE = 3600.0


def refusal(error: Exception, limit: str) -> Retry | Failed | Ambiguous:
    """What became of a request that did not end well; `limit` is the one that Slack counts it by.

    A 5xx is not documented to mean that nothing was done.
    """
    match error:
        case SlackApiError() if error.response.status_code == 429:
            return Retry("HTTP 429: too many requests", pause_of(error), pauses=limit)
        case SlackApiError():
            return by_name(str(error.response.get("error") or f"HTTP {error.response.status_code}"), error)
        case SlackClientError():
            return Ambiguous(f"no answer that can be read: {error}")
        case urllib.error.URLError() if before_the_request(error.reason):
            return Retry(f"no connection to Slack: {error.reason}")
        case urllib.error.URLError() | OSError() | http.client.HTTPException():
            return Ambiguous(f"the connection broke: {type(error).__name__}: {error}")
        case _:
            return Failed(f"{type(error).__name__}: {error}")


def by_name(name: str, error: SlackApiError) -> Retry | Failed | Ambiguous:
    if name in NOT_NOW:
        return Retry(name)
    if name in UNCLEAR or error.response.status_code >= 500:
        return Ambiguous(name)
    if name == "missing_scope":
        needed = error.response.get("needed")
        return Failed(f"missing_scope: the app needs the scope {needed}; add it on its page and install it again")
    return Failed(name)


def before_the_request(reason: object) -> bool:
    """Whether the connection failed before anything was written to it."""
    return isinstance(reason, ConnectionRefusedError | socket.gaierror | ssl.SSLCertVerificationError)


def pause_of(error: SlackApiError) -> float:
    """https://docs.slack.dev/apis/web-api/rate-limits"""
    headers = {name.lower(): value for name, value in (error.response.headers or {}).items()}
    value = str(headers.get("retry-after", ""))
    return min(float(value), LONGEST_PAUSE) if value.isascii() and value.isdigit() else DEFAULT_PAUSE
