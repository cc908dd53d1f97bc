"""What Slack tells an app: posts, mentions, commands and clicks."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.fakes.slack.shapes import message_json
from tests.fakes.slack.workspace import Channel, File, Message, Person, Workspace, id_of, typed_blocks


@dataclass
class ResponseUrl:
    """Where an app may answer a command or a click."""

    channel: str
    user: str
    message: Message | None
    uses: int = 0


@dataclass(frozen=True)
class Response:
    """What an app posted to a `response_url`."""

    url: str
    channel: str
    user: str
    payload: Mapping[str, Any]


class Events(Workspace):
    """Builders of what is sent to the app."""

    def __init__(self) -> None:
        super().__init__()
        self.responses: list[Response] = []
        self.response_urls: dict[str, ResponseUrl] = {}
        self._events = count(1)

    def say(
        self,
        channel: str | Channel,
        user: str | Person,
        text: str,
        thread_ts: str | None = None,
        files: Iterable[File] = (),
        subtype: str | None = None,
        bot_id: str | None = None,
        client_msg_id: bool = True,
    ) -> Message:
        """A person's post, or another bot's, as Slack has it: with `&`, `<` and `>` as entities.

        Posts of bots and those with a subtype have no `client_msg_id`.
        """
        with self.lock:
            place, shared = self.channels[id_of(channel)], list(files)
            bot = bot_id or self.people[id_of(user)].bot_id or None
            message = Message(
                place.id,
                place.next_ts(),
                id_of(user),
                text,
                typed_blocks(text, self.new_id("b")),
                thread_ts,
                files=shared,
                subtype=subtype or ("file_share" if shared else None),
                bot_id=bot,
            )
            if client_msg_id and not bot and message.subtype is None:
                message.client_msg_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{place.id}/{message.ts}"))
            return self.add(place, message)

    def react(self, message: Message, user: str | Person, name: str) -> dict[str, Any]:
        """A person's reaction, and the envelope that tells of it."""
        with self.lock:
            message.reactions.setdefault(name, []).append(id_of(user))
        item = {"type": "message", "channel": message.channel, "ts": message.ts}
        return self.envelope(
            {
                "type": "reaction_added",
                "user": id_of(user),
                "reaction": name,
                "item": item,
                "item_user": message.user,
                "event_ts": message.ts,
            }
        )

    def events_of(self, message: Message) -> list[dict[str, Any]]:
        """The envelopes for a post: one of `message`, and one of `app_mention` where it names the bot.

        Slack sends both, each with its own `event_id`: https://docs.slack.dev/reference/events/app_mention. There is
        no `app_mention` in direct messages, nor for the app's own posts, and nothing from where the bot is not.
        """
        channel = self.channels[message.channel]
        if self.bot_user not in channel.members:
            return []
        kind = {"im": "im", "mpim": "mpim"}.get(channel.kind, "group" if channel.private else "channel")
        event = message_json(self, message) | {"channel": channel.id, "event_ts": message.ts}
        found = [self.envelope(event | {"channel_type": kind})]
        mentioned = f"<@{self.bot_user}>" in message.text and message.bot_id != self.bot_id
        if mentioned and kind != "im":
            found.append(self.envelope({**event, "type": "app_mention"}))
        return found

    def envelope(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Around any event. https://docs.slack.dev/apis/events-api/#event-type-structure"""
        number = next(self._events)
        return {
            "token": self.verification_token,
            "team_id": self.team_id,
            "context_team_id": self.team_id,
            "context_enterprise_id": None,
            "api_app_id": self.app_id,
            "event": dict(event),
            "type": "event_callback",
            "event_id": f"Ev0FAKE{number:04d}",
            "event_time": int(float(event.get("event_ts", 0))),
            # One installation at most, however many see the event.
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": self.team_id,
                    "user_id": self.bot_user,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": False,
            "event_context": f"4-fake-event-context-{number}",
        }

    def slash(
        self, channel: str | Channel, user: str | Person, text: str, command: str = "/heyfleet"
    ) -> dict[str, str]:
        """The form of a command. https://docs.slack.dev/interactivity/implementing-slash-commands#app_command_handling"""
        with self.lock:
            place, person = self.channels[id_of(channel)], self.people[id_of(user)]
            names = {"im": "directmessage", "mpim": place.name}
            return {
                "token": self.verification_token,
                "team_id": self.team_id,
                "team_domain": self.team_domain,
                "channel_id": place.id,
                "channel_name": names.get(place.kind, "privategroup" if place.private else place.name),
                "user_id": person.id,
                "user_name": person.name,
                "command": command,
                "text": text,
                "api_app_id": self.app_id,
                "is_enterprise_install": "false",
                "response_url": self.response_url("commands", place.id, person.id),
                "trigger_id": self.trigger_id(),
            }

    def click(self, user: str | Person, message: Message, action_id: str, value: str | None = None) -> dict[str, Any]:
        """A click on a button that the message has. https://docs.slack.dev/reference/interaction-payloads/block_actions-payload"""
        with self.lock:
            person, channel = self.people[id_of(user)], self.channels[message.channel]
            block_id, button = button_of(message, action_id, value)
            threaded = {"thread_ts": message.thread_ts} if message.thread_ts else {}
            action = {name: button[name] for name in ("action_id", "text", "value", "style", "url") if name in button}
            return {
                "type": "block_actions",
                "user": {"id": person.id, "username": person.name, "name": person.name, "team_id": self.team_id},
                "api_app_id": self.app_id,
                "token": self.verification_token,
                "container": {
                    "type": "message",
                    "message_ts": message.ts,
                    "channel_id": channel.id,
                    "is_ephemeral": False,
                    **threaded,
                },
                "trigger_id": self.trigger_id(),
                "team": {"id": self.team_id, "domain": self.team_domain},
                "enterprise": None,
                "is_enterprise_install": False,
                "channel": {"id": channel.id, "name": "directmessage" if channel.kind == "im" else channel.name},
                "message": message_json(self, message),
                "state": {"values": {}},
                "response_url": self.response_url("actions", channel.id, person.id, message),
                "actions": [{"type": "button", "block_id": block_id, **action, "action_ts": message.ts}],
            }

    def trigger_id(self) -> str:
        return f"{next(self._events)}.1000000000.{uuid.uuid5(uuid.NAMESPACE_URL, str(next(self._events))).hex}"

    def response_url(self, kind: str, channel: str, user: str, message: Message | None = None) -> str:
        path = f"/{kind}/{self.team_id}/{next(self._events)}/fake"
        self.response_urls[path] = ResponseUrl(channel, user, message)
        return f"{self.origin}{path}"


def button_of(message: Message, action_id: str, value: str | None) -> tuple[str, Mapping[str, Any]]:
    for block in message.blocks:
        for found in [*block.get("elements", []), block.get("accessory", {})]:
            if found.get("action_id") == action_id and value in (None, found.get("value")):
                return str(block["block_id"]), found
    raise AssertionError(f"the message has no button {action_id!r} with the value {value!r}: {message.blocks}")
