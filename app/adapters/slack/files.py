"""Files to Slack and from it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from slack_sdk import WebClient


def upload(client: WebClient, channel: str, thread: str | None, file: Mapping[str, str]) -> str:
    """Share a file; its id. Three requests, of which only the last one shows anything to anybody.

    https://docs.slack.dev/messaging/working-with-files#uploading_files
    """
    content, name = base64.b64decode(file["data"]), file["name"]
    answer = client.files_upload_v2(channel=channel, thread_ts=thread, content=content, filename=name, title=name)
    return str(answer["files"][0]["id"])
