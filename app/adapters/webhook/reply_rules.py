"""Where callbacks may go: only what the operator listed, so that a caller can't make heyfleet call into its network."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.config.adapters import WebhookAdapter as Settings
from app.errors import Refused

DEFAULT_PORTS = {"https": 443, "http": 80}


def check_reply_url(url: str, settings: Settings) -> None:
    """Raises Refused (400) with the rule that the URL breaks."""
    try:
        parts = urlsplit(url)
        port = DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError as error:
        raise Refused(f"replyUrl is no URL: {error}") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise Refused("replyUrl must be an https URL with a host")
    if parts.scheme == "http" and not settings.unsafe_reply_http:
        raise Refused("replyUrl must be https (unsafe_reply_http allows http)")
    if parts.username is not None or parts.password is not None:
        raise Refused("replyUrl must not contain credentials")
    if any(ord(character) <= 0x20 or ord(character) == 0x7F for character in url):
        raise Refused("replyUrl must not contain spaces or control characters")
    if not url.isascii():
        # Two parsers may make two hosts of one such name, and only one of them is looked at here.
        raise Refused("replyUrl must be ASCII: write the host as xn--… and percent-encode the rest")
    if url in settings.reply_urls or parts.hostname.lower() in [host.lower() for host in settings.reply_hosts]:
        return
    if (parts.scheme, parts.hostname.lower(), port) in [origin_of(origin) for origin in settings.reply_origins]:
        return
    raise Refused("replyUrl matches none of reply_urls, reply_origins and reply_hosts of this adapter")


def origin_of(origin: str) -> tuple[str, str, int | None]:
    parts = urlsplit(origin)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or DEFAULT_PORTS.get(parts.scheme)
