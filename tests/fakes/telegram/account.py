"""Methods that say who and what there is: https://core.telegram.org/bots/api#available-methods."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from tests.fakes.telegram.book import Book
from tests.fakes.telegram.entities import utf16
from tests.fakes.telegram.limits import Limits
from tests.fakes.telegram.model import filled
from tests.fakes.telegram.parameters import Parameters
from tests.fakes.telegram.refusals import Refusal, bad_request

MOST_COMMANDS = 100
TOO_OLD = "query is too old and response timeout expired or query ID is invalid"


class Account:
    """Called under the fake's lock."""

    def __init__(self, book: Book, limits: Limits) -> None:
        self.book = book
        self.limits = limits
        self.privacy = True
        self.commands: dict[tuple[str, str], list[dict[str, str]]] = {}
        """By scope (as JSON) and language."""

    def get_me(self) -> dict[str, Any]:
        return {
            **self.book.bot.shown(),
            "can_join_groups": True,
            "can_read_all_group_messages": not self.privacy,
            "supports_inline_queries": False,
        }

    def get_file(self, params: Parameters) -> dict[str, Any]:
        file = self.book.find_file(params.text("file_id"))
        if file is None:
            raise bad_request("invalid file_id")
        # https://core.telegram.org/bots/api#getfile
        if len(file.content) > self.limits.download_bytes:
            raise bad_request("file is too big")
        number, ending = list(self.book.files).index(file.id), re.search(r"\.\w+$", file.name)
        folder = "photos" if file.kind.startswith("image/") else "documents"
        file.path = f"{folder}/file_{number}{ending.group() if ending else ''}"
        return {**file.shown(), "file_path": file.path}

    def download(self, path: str) -> bytes:
        for file in self.book.files.values():
            if file.path and file.path == path:
                return file.content
        raise Refusal(404, "Not Found")

    def answer_callback_query(self, params: Parameters) -> bool:
        query = self.book.queries.get(params.text("callback_query_id"))
        if query is None or time.monotonic() - query.at > self.limits.query_seconds:
            raise bad_request(TOO_OLD)
        # https://core.telegram.org/bots/api#answercallbackquery
        if utf16(params.text("text")) > 200:
            raise bad_request("MESSAGE_TOO_LONG")
        query.answers.append(
            filled(text=params.text("text"), show_alert=params.flag("show_alert"), url=params.text("url"))
        )
        return True

    def set_my_commands(self, params: Parameters) -> bool:
        """https://core.telegram.org/bots/api#setmycommands."""
        commands = params.structure("commands", "commands") or []
        if not isinstance(commands, list):
            raise bad_request("expected an Array of BotCommand")
        if len(commands) > MOST_COMMANDS:
            raise bad_request("BOT_COMMANDS_TOO_MUCH")
        self.commands[_scope(params)] = [_command(one) for one in commands]
        return True

    def get_my_commands(self, params: Parameters) -> list[dict[str, str]]:
        return self.commands.get(_scope(params), [])

    def get_chat(self, params: Parameters) -> dict[str, Any]:
        """https://core.telegram.org/bots/api#chatfullinfo."""
        return {**self.book.chat(params).shown(), "accent_color_id": 0, "max_reaction_count": 11}

    def get_chat_member(self, params: Parameters) -> dict[str, Any]:
        """https://core.telegram.org/bots/api#chatmember."""
        chat = self.book.chat(params)
        person = self.book.people.get(params.whole("user_id"))
        if person is None:
            raise bad_request("invalid user_id specified")
        return {"user": person.shown(), "status": chat.members.get(person.id, "left")}


def _scope(params: Parameters) -> tuple[str, str]:
    scope = params.structure("scope", "BotCommandScope") or {"type": "default"}
    return json.dumps(scope, sort_keys=True), params.text("language_code")


def _command(one: Any) -> dict[str, str]:
    """https://core.telegram.org/bots/api#botcommand."""
    if not isinstance(one, dict):
        raise bad_request("can't parse BotCommand: expected an Object")
    for name in ("command", "description"):
        if not isinstance(one.get(name), str):
            raise bad_request(f"can't parse BotCommand: Can't find field \"{name}\"")
    command = one["command"].removeprefix("/")
    if not command or not one["description"]:
        raise bad_request(f"command {'name' if not command else 'description'} must be non-empty")
    if not re.fullmatch(r"[a-z0-9_]{1,32}", command):
        raise bad_request("BOT_COMMAND_INVALID")
    if utf16(one["description"]) > 256:
        raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": command, "description": one["description"]}
