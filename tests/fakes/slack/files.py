"""Files: their upload in three steps, what is known of them, and their download."""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.provider import Answer, Request
from tests.fakes.slack.arguments import Arguments, content_type, multipart
from tests.fakes.slack.chat import addressed, parent
from tests.fakes.slack.refusals import Refused
from tests.fakes.slack.shapes import file_json
from tests.fakes.slack.workspace import Channel, File, Message, Workspace

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in | Slack</title></head><body>Sign in</body></html>"


def get_upload_url(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/files.getUploadURLExternal"""
    name, length = args.text("filename"), args.number("length", 0)
    if not name or length <= 0:
        # "Typically only occurs when the `length` provided is 0."
        raise Refused("missing_argument")
    if len(args.text("alt_txt")) > 1000:
        raise Refused("alt_txt_too_large")
    file = File(team.new_id("F"), name, team.bot_user, title=name, length=length)
    team.all_files[file.id] = file
    return {"upload_url": f"{team.origin}/upload/v1/{file.id}", "file_id": file.id}


def upload(team: Workspace, request: Request) -> Answer:
    """The bytes, raw or as a form: HTTP 200 if they were taken, something else if not. No token is needed."""
    file = team.all_files.get(request.path.rpartition("/")[2])
    if file is None or file.state != "awaited":
        return plain(404, "no such upload")
    kind, parameters = content_type(request)
    content = request.body
    if kind == "multipart/form-data":
        # There is one part; what it is called does not matter.
        content = next(iter(multipart(request.body, parameters.get("boundary", "")).values()), b"")
    if len(content) != file.length:
        team.problems.append(f"{file.name}: {file.length} bytes were announced, {len(content)} came")
        return plain(400, "wrong length")
    file.content, file.state = content, "uploaded"
    return plain(200, f"OK - {len(content)}")


def plain(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "text/plain"})


def complete_upload(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/files.completeUploadExternal"""
    wanted = args.structure("files", "invalid_arguments")
    if not isinstance(wanted, list) or not wanted or not all(isinstance(one, dict) and "id" in one for one in wanted):
        raise Refused.because("invalid_arguments", "missing required field: files")
    files = [team.all_files.get(one["id"]) for one in wanted]
    uploaded = [file for file in files if file is not None and file.state == "uploaded"]
    if len(uploaded) != len(wanted):
        raise Refused("file_not_found")
    ids = [args.text("channel_id"), *args.text("channels").split(",")]
    # A user's id will do for `channels`, as in chat.postMessage.
    channels = [addressed(team, id.strip()) for id in ids if id.strip()]  # noqa: A001 (Slack's name)
    roots = [parent(team, channel, args) for channel in channels]
    for one, file in zip(wanted, uploaded, strict=True):
        file.state, file.title = "complete", one.get("title") or file.name
    for channel, root in zip(channels, roots, strict=True):
        share(team, channel, uploaded, args.text("initial_comment"), root)
    # No more than this is promised; `files.info` has the rest.
    return {"files": [{"id": file.id, "title": file.title} for file in uploaded]}


def share(team: Workspace, channel: Channel, files: list[File], text: str, root: str | None) -> Message:
    message = Message(channel.id, channel.next_ts(), team.bot_user, text, thread_ts=root, bot_id=team.bot_id)
    message.files, message.subtype = list(files), "file_share"
    return team.add(channel, message)


def info(team: Workspace, args: Arguments) -> dict[str, Any]:
    """https://docs.slack.dev/reference/methods/files.info"""
    file = team.all_files.get(args.needed("file"))
    if file is None or file.state != "complete":
        raise Refused("file_not_found")
    return {"file": file_json(team, file), "comments": []}


def download(team: Workspace, request: Request) -> Answer:
    """With the token in `Authorization` the bytes; else HTTP 200 and a page to sign in at.

    https://docs.slack.dev/reference/objects/file-object#authentication
    https://github.com/slackapi/bolt-js/issues/2585
    """
    page = Answer(200, LOGIN_PAGE, {"Content-Type": "text/html; charset=utf-8"})
    if request.headers.get("authorization") != f"Bearer {team.bot_token}" or "files:read" not in team.scopes:
        return page
    found = re.match(r"/files-pri/\w+-(\w+)/", request.path)
    file = team.all_files.get(found[1]) if found else None
    if file is None or file.state != "complete":
        return plain(404, "no such file")
    return Answer(200, file.content, {"Content-Type": file.mimetype})
