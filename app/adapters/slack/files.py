"""Files to Slack and from it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx2 as httpx
from slack_sdk import WebClient

from app.config.adapters import SlackAdapter as Settings
from app.errors import Permanent, Transient


def upload(client: WebClient, channel: str, thread: str | None, file: Mapping[str, str]) -> str:
    """Share a file; its id. Three requests, of which only the last one shows anything to anybody.

    https://docs.slack.dev/messaging/working-with-files#uploading_files
    """
    content, name = base64.b64decode(file["data"]), file["name"]
    answer = client.files_upload_v2(channel=channel, thread_ts=thread, content=content, filename=name, title=name)
    return str(answer["files"][0]["id"])


def address_of(client: WebClient, file: str) -> str:
    """Where a file is of which the message has the id alone: one of another workspace, in a channel that is shared.
    https://docs.slack.dev/apis/slack-connect/using-slack-connect-with-your-app. Raises SlackClientError and OSError."""
    found = client.files_info(file=file)["file"]
    return str(found.get("url_private_download") or found.get("url_private") or "")


def download(url: str, settings: Settings, most: int, *, html: bool = False) -> bytes:
    """A file that somebody shared; `html`: it is a page. Raises Transient and Permanent.

    https://docs.slack.dev/reference/objects/file-object: with the bot's token, and from Slack alone: it is told to
    nobody else, whatever a message says.
    """
    if not is_slack_s(url, settings.api_url):
        raise Permanent("its address is not Slack's")
    headers = {"Authorization": f"Bearer {settings.bot_token.get_secret_value()}"}
    content = b""
    try:
        with httpx.stream("GET", url, headers=headers, timeout=60.0, follow_redirects=False, trust_env=False) as answer:
            if answer.status_code == 429 or answer.status_code >= 500:
                raise Transient(f"Slack does not give it now: HTTP {answer.status_code}")
            if not answer.is_success or (not html and answer.headers.get("Content-Type", "").startswith("text/html")):
                # Without the right, Slack shows its page for logging in.
                raise Permanent("Slack does not give it: the app needs the scope files:read, and to be in the channel")
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > most:
                    raise Permanent(f"it is larger than {most} bytes")
    except httpx.HTTPError as error:
        raise Transient(f"the connection to Slack broke: {type(error).__name__}") from error
    return content


def is_slack_s(url: str, api_url: str) -> bool:
    file, api = urlsplit(url), urlsplit(api_url)
    host = (file.hostname or "").lower()
    if (file.scheme, file.netloc) == (api.scheme, api.netloc):
        return True
    return file.scheme == "https" and (host in ("slack.com", "files.slack.com") or host.endswith(".slack.com"))
