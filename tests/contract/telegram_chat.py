"""Telegram, for the contract of adapters: the channel is a group with topics, and each conversation has a topic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.contract.chats import NAME, Chat
from tests.fakes.telegram import FakeTelegram, serving_telegram

SECRET = "telegram-s-own"


class TelegramChat(Chat):
    fake: FakeTelegram
    posting = "sendMessage"
    reacting = ("setMessageReaction",)
    settles = False
    # https://core.telegram.org/bots/faq#why-doesn-39t-my-bot-see-messages-from-other-bots
    bots_meet = False
    whispers = False

    @classmethod
    @contextmanager
    def opened(cls, database_url: str, redis_url: str) -> Iterator[TelegramChat]:
        with serving_telegram() as fake:
            chat = cls(database_url, redis_url)
            chat.fake = fake
            # The adapter, not Telegram, is to tell what is meant for the bot.
            fake.privacy = False
            chat.people = {name: fake.person(name) for name in ("ann", "bob")}
            chat.people["robot"] = fake.person("robot", bot=True)
            chat.channel = fake.supergroup("general", forum=True)
            # A topic has the id of its first message, and 1 is that of the General topic.
            fake.say(chat.channel, chat.people["ann"], "welcome")
            chat.flat = fake.supergroup("flat")
            chat.direct = {name: fake.private(who) for name, who in chat.people.items()}
            try:
                yield chat
            finally:
                chat.close()

    def config(self) -> dict[str, Any]:
        return {
            "kind": "telegram",
            "name": NAME,
            "mode": "webhook",
            "bot_token": self.fake.token,
            "webhook_secret": SECRET,
            "api_url": self.fake.origin,
        }

    def url(self, ingress: int = 0) -> str:
        return f"{self.ingresses[ingress].origin}/telegram/{NAME}/webhook"

    def deliver(self, update: Any) -> Any:
        assert update.update_id
        result = self.fake.post(self.url(), update, secret=SECRET)
        assert result.status == 200, result.body
        return update

    def dm(self, text: str, who: str = "ann") -> Any:
        return self.deliver(self.fake.say(self.direct[who], self.people[who], text))

    def say(self, text: str, who: str = "ann", *, mention: bool = False, thread: Any = None) -> Any:
        text = f"@{self.fake.bot.username} {text}" if mention else text
        person = self.people[who]
        topic = self.fake.topic(self.channel, person, "a talk") if thread is None else thread.message.thread_id
        return self.deliver(self.fake.say(self.channel, person, text, thread_id=topic))

    def redeliver(self, said: Any, ingress: int = 0) -> int:
        return int(self.fake.post(self.url(ingress), said, secret=SECRET).status)

    def of_bot(self, where: str) -> list[Any]:
        chats = [self.channel] if where == "channel" else self.direct.values()
        return [m for chat in chats for m in self.fake.messages(chat) if m.sender.id == self.fake.bot.id]

    def heard(self, where: str) -> list[str]:
        return [message.text for message in self.of_bot(where) if not message.document]

    def edits(self, where: str) -> int:
        return len(self.of_bot(where)[0].edits)

    def delete_last(self, where: str) -> None:
        message = self.of_bot(where)[-1]
        message.chat.messages.remove(message)

    def buttons(self, where: str) -> list[dict[str, str]]:
        return [button for message in self.of_bot(where)[-1:] for button in message.buttons()]

    def press(self, where: str, label: str, who: str = "ann") -> str:
        (card,) = [message for message in self.of_bot(where) if message.buttons()]
        button = next(button for button in card.buttons() if button["text"].startswith(label))
        pressed = self.deliver(self.fake.press(self.people[who], card, button["callback_data"]))
        (answer,) = self.fake.answers(pressed)
        return str(answer.get("text") or "")

    def order(self, text: str, who: str = "ann") -> str:
        before = len(self.heard("channel"))
        topic = next(iter(self.channel.topics), None) or self.fake.topic(self.channel, self.people[who], "orders")
        self.deliver(self.fake.say(self.channel, self.people[who], f"/heyfleet {text}", thread_id=topic))
        self.until_sent()
        return "\n".join(self.heard("channel")[before:])

    def marks(self, said: Any) -> list[str]:
        return list(said.message.reactions)

    def files(self, where: str) -> list[tuple[str, bytes]]:
        return [(m.document.name, m.document.content) for m in self.of_bot(where) if m.document]

    def share(self, text: str, name: str, content: bytes) -> Any:
        said = self.fake.say(self.direct["ann"], self.people["ann"], document=(name, content), caption=text)
        return self.deliver(said)

    def forged(self) -> int:
        update = self.fake.say(self.direct["ann"], self.people["ann"], "trust me")
        return int(self.fake.post(self.url(), update, secret="guessed").status)

    def bot_says(self) -> None:
        message = {"message_id": 1, "from": self.fake.bot.shown(), "chat": self.direct["ann"].shown(), "text": "I did"}
        assert self.fake.post(self.url(), {"update_id": 77, "message": message}, secret=SECRET).status == 200
