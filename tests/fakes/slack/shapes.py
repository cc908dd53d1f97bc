"""How Slack writes its objects down. https://docs.slack.dev/reference/objects"""

from __future__ import annotations

from typing import Any

from tests.fakes.slack.workspace import FIRST_SECOND, Channel, File, Group, Message, Person, Workspace


def message_json(team: Workspace, message: Message, metadata: bool = False) -> dict[str, Any]:
    """https://docs.slack.dev/reference/events/message; the metadata only for those who ask for it."""
    channel = team.channels[message.channel]
    shown: dict[str, Any] = {
        "type": "message",
        "user": message.user,
        "text": message.text,
        "ts": message.ts,
        "team": team.team_id,
    }
    shown |= {
        name: value
        for name, value in {
            "subtype": message.subtype,
            "client_msg_id": message.client_msg_id,
            "bot_id": message.bot_id,
            "app_id": team.app_id if message.bot_id == team.bot_id else None,
            "blocks": message.blocks or None,
            "files": [file_json(team, file) for file in message.files] or None,
            "metadata": message.metadata if metadata else None,
            "reactions": [
                {"name": name, "users": list(users), "count": len(users)} for name, users in message.reactions.items()
            ]
            or None,
        }.items()
        if value is not None
    }
    # An edit that keeps to blocks is not shown as one: https://docs.slack.dev/reference/methods/chat.update
    if message.edited and not message.blocks:
        shown["edited"] = {"user": message.user, "ts": message.ts}
    return shown | thread_fields(channel, message)


def thread_fields(channel: Channel, message: Message) -> dict[str, Any]:
    """https://docs.slack.dev/messaging/retrieving-messages (threads)"""
    if message.is_reply and message.thread_ts:
        parent = channel.at(message.thread_ts)
        return {"thread_ts": message.thread_ts, "parent_user_id": parent.user if parent else "USLACKBOT"}
    replies = [reply for reply in channel.thread(message.ts) if reply is not message]
    if not replies:
        return {}
    users = list(dict.fromkeys(reply.user for reply in replies))
    return {
        "thread_ts": message.ts,
        "reply_count": len(replies),
        "reply_users": users,
        "reply_users_count": len(users),
        "latest_reply": replies[-1].ts,
    }


def file_json(team: Workspace, file: File) -> dict[str, Any]:
    """https://docs.slack.dev/reference/objects/file-object"""
    place = f"{team.team_id}-{file.id}"
    places = [channel for channel, _ in file.shares]
    return {
        "id": file.id,
        "created": file.created,
        "timestamp": file.created,
        "name": file.name,
        "title": file.title,
        "mimetype": file.mimetype,
        "filetype": file.name.rpartition(".")[2],
        "user": file.user,
        "size": len(file.content),
        "mode": "hosted",
        "is_external": False,
        "is_public": any(channel.startswith("C") for channel in places),
        "channels": [channel for channel in places if channel.startswith("C")],
        "groups": [channel for channel in places if channel.startswith("G")],
        "ims": [channel for channel in places if channel.startswith("D")],
        "url_private": f"{team.origin}/files-pri/{place}/{file.name}",
        "url_private_download": f"{team.origin}/files-pri/{place}/download/{file.name}",
        "permalink": f"{team.origin}/files/{file.user}/{file.id}/{file.name}",
    }


def channel_json(team: Workspace, channel: Channel) -> dict[str, Any]:
    """https://docs.slack.dev/reference/objects/conversation-object"""
    shown: dict[str, Any] = {
        "id": channel.id,
        "created": FIRST_SECOND,
        "is_archived": channel.archived,
        "is_im": channel.kind == "im",
        "context_team_id": team.team_id,
    }
    if channel.kind == "im":
        # A direct message has no name and no membership: it has the other one.
        return shown | {"user": next((member for member in channel.members if member != team.bot_user), team.bot_user)}
    return shown | {
        "name": channel.name,
        "name_normalized": channel.name.lower(),
        "is_channel": channel.kind == "channel" and not channel.private,
        "is_group": channel.kind == "channel" and channel.private,
        "is_mpim": channel.kind == "mpim",
        "is_private": channel.private,
        "is_member": team.bot_user in channel.members,
        "num_members": len(channel.members),
    }


def person_json(team: Workspace, person: Person) -> dict[str, Any]:
    """https://docs.slack.dev/reference/objects/user-object"""
    return {
        "id": person.id,
        "team_id": team.team_id,
        "name": person.name,
        "real_name": person.name.title(),
        "deleted": person.deleted,
        "is_bot": bool(person.bot_id),
        "is_app_user": False,
        "tz": "Europe/London",
        "profile": {
            "real_name": person.name.title(),
            "display_name": person.name,
            **({"bot_id": person.bot_id} if person.bot_id else {}),
        },
    }


def group_json(team: Workspace, group: Group, users: bool) -> dict[str, Any]:
    """https://docs.slack.dev/reference/objects/usergroup-object"""
    return {
        "id": group.id,
        "team_id": team.team_id,
        "is_usergroup": True,
        "name": group.handle.title(),
        "handle": group.handle,
        "date_delete": 0,
        "user_count": len(group.users),
        **({"users": list(group.users)} if users else {}),
    }
