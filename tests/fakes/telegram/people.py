"""What people do in this Telegram, and what the bot gets to see of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tests.fakes.provider import FakeProvider
from tests.fakes.telegram.book import Book
from tests.fakes.telegram.entities import written
from tests.fakes.telegram.model import Chat, File, Message, Person, Update
from tests.fakes.telegram.updates import Updates

FileLike = File | tuple[str, bytes]
"""One that is there, or name and content of a new one."""


class People(FakeProvider):
    """The side of Telegram that people are on."""

    book: Book
    updates: Updates
    privacy: bool

    def person(self, name: str, bot: bool = False, username: str = "") -> Person:
        with self.lock:
            return self.book.add_person(name, bot, username)

    def private(self, user: Person) -> Chat:
        """The user has pressed Start; before that a bot can't write to anybody."""
        with self.lock:
            return self.book.chats.get(user.id) or self.book.add_chat("private", person=user)

    def group(self, title: str) -> Chat:
        with self.lock:
            return self.book.add_chat("group", title)

    def supergroup(self, title: str, forum: bool = False) -> Chat:
        with self.lock:
            return self.book.add_chat("supergroup", title, forum=forum)

    def channel(self, title: str) -> Chat:
        with self.lock:
            return self.book.add_chat("channel", title)

    def topic(self, chat: Chat, user: Person, name: str) -> int:
        """A new one in a forum; its thread id is that of the message that began it."""
        assert chat.forum
        with self.lock:
            service = {"forum_topic_created": {"name": name, "icon_color": 7322096}}
            message = self.book.add_message(Message(chat, 0, user, service=service))
            message.thread_id = message.message_id
            chat.topics[message.message_id] = message
            self._heard("message", message)
            return message.message_id

    def say(
        self,
        chat: Chat,
        user: Person,
        text: str = "",
        reply_to: Message | int | None = None,
        thread_id: int | None = None,
        document: FileLike | None = None,
        photo: FileLike | None = None,
        caption: str | None = None,
        edited: bool | Message = False,
        mentions: Mapping[str, Person] | None = None,
    ) -> Update:
        """A message, or a change of one (`edited`: this one, or the user's last one here).

        `mentions`: words of the text that are made a mention of somebody who has no username. What the bot does not
        get has update id 0.
        """
        with self.lock:
            text = caption or text
            entities = written(text, {word: one.shown() for word, one in (mentions or {}).items()})
            if edited:
                message = edited if isinstance(edited, Message) else _last_of(chat, user)
                message.edits.append(message.text)
                message.text, message.entities, message.edit_date = text, entities, int(time.time())
                return self._heard("edited_message", message)
            assert thread_id is None or thread_id in chat.topics, "no such topic"
            replied = chat.message(reply_to) if isinstance(reply_to, int) else reply_to
            message = Message(chat, 0, user, text, "", entities, None, replied, thread_id)
            message.document = self._file(document, "application/octet-stream")
            message.photo = self._file(photo, "image/jpeg")
            return self._heard("message", self.book.add_message(message))

    def press(self, user: Person, message: Message | int, data: str, chat: Chat | None = None) -> Update:
        """A button under a message of the bot: https://core.telegram.org/bots/api#callbackquery."""
        with self.lock:
            if isinstance(message, int):
                assert chat is not None
                found = chat.message(message)
                assert found is not None, "no such message"
                message = found
            assert any(button.get("callback_data") == data for button in message.buttons()), "no such button"
            body = {
                "id": self.book.add_query(),
                "from": user.shown(),
                "message": message.shown(),
                "chat_instance": str(-message.chat.id * 31),
                "data": data,
            }
            # Kept in order for each user, apart from what is said in the chat:
            # https://github.com/tdlib/telegram-bot-api (Client::process_new_callback_query_queue).
            return self.updates.add("callback_query", body, f"press {user.id}", message)

    def block(self, user: Person) -> Update:
        """The user wants nothing more of the bot."""
        with self.lock:
            return self._membership(self.private(user), user, "bot was blocked by the user")

    def unblock(self, user: Person) -> Update:
        with self.lock:
            return self._membership(self.private(user), user, "")

    def kick(self, chat: Chat, user: Person) -> Update:
        """Somebody throws the bot out."""
        with self.lock:
            return self._membership(chat, user, f"bot was kicked from the {chat.kind} chat")

    def migrate(self, group: Chat) -> Chat:
        """A group becomes a supergroup, with another id: https://core.telegram.org/bots/api#responseparameters."""
        with self.lock:
            chat = self.book.add_chat("supergroup", group.title)
            chat.members |= group.members
            people = [one for one in self.book.people.values() if one.id in group.members and not one.bot]
            owner = people[0] if people else self.book.add_person("Owner", False, "")
            for place, service in (
                (group, {"migrate_to_chat_id": chat.id}),
                (chat, {"migrate_from_chat_id": group.id}),
            ):
                self._heard("message", self.book.add_message(Message(place, 0, owner, service=service)))
            group.migrated_to = chat.id
            return chat

    def messages(self, chat: Chat | int) -> list[Message]:
        """What stands in a chat, people's and the bot's, in order."""
        with self.lock:
            return list((self.book.chats[chat] if isinstance(chat, int) else chat).messages)

    # --- what the bot gets

    def _heard(self, kind: str, message: Message) -> Update:
        if message.chat.kind == "channel":
            kind = kind.replace("message", "channel_post")
        given = message.sender is not self.book.bot and not message.chat.closed and self._is_for_the_bot(message)
        return self.updates.add(kind, message.shown(), f"chat {message.chat.id}", message, given)

    def _is_for_the_bot(self, message: Message) -> bool:
        """https://core.telegram.org/bots/faq#what-messages-will-my-bot-get."""
        chat, bot = message.chat, self.book.bot
        if chat.kind in ("private", "channel") or message.service:
            return True
        # Administrators and bots without privacy get all; but no bot gets what another one says.
        if message.sender.bot:
            return False
        if not self.privacy or chat.members.get(bot.id) == "administrator":
            return True
        if message.replied and message.replied.sender is bot:
            return True
        name = f"@{bot.username}".lower()
        for entity in message.entities:
            # In UTF-16, as entities count.
            raw = message.text.encode("utf-16-le")
            word = raw[2 * entity["offset"] : 2 * (entity["offset"] + entity["length"])].decode("utf-16-le").lower()
            if entity["type"] == "bot_command":
                # One that is for no bot by name is for the bot that spoke last; here also where none has yet.
                if word.endswith(name) or ("@" not in word and chat.last_bot in (None, bot)):
                    return True
            elif (entity["type"] == "mention" and word == name) or entity.get("user", {}).get("id") == bot.id:
                return True
        return False

    def _membership(self, chat: Chat, user: Person, closed: str) -> Update:
        """The bot is put out, or (`closed` is empty) let in again: https://core.telegram.org/bots/api#chatmemberupdated."""
        bot, status = self.book.bot, "kicked" if closed else "member"
        body: dict[str, Any] = {
            "chat": chat.shown(),
            "from": user.shown(),
            "date": int(time.time()),
            "old_chat_member": {"user": bot.shown(), "status": chat.members[bot.id]},
            "new_chat_member": {"user": bot.shown(), "status": status},
        }
        chat.closed = closed
        chat.members[bot.id] = status
        return self.updates.add("my_chat_member", body, f"member {chat.id}", None)

    def _file(self, file: FileLike | None, kind: str) -> File | None:
        return self.book.add_file(file[0], kind, file[1]) if isinstance(file, tuple) else file


def _last_of(chat: Chat, user: Person) -> Message:
    return [message for message in chat.messages if message.sender is user and not message.service][-1]
