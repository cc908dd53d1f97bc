"""Discord, for the contract of adapters: each conversation of the channel has a thread. Events come by the gateway's
code, interactions by HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.adapters.discord import DiscordAdapter
from app.bootstrap import desk_of
from app.entry import enter
from tests.contract.chats import NAME, Chat
from tests.fakes.discord import FakeDiscord, serving_discord


class DiscordChat(Chat):
    fake: FakeDiscord
    reacting = tuple(f"{verb} /channels/{{id}}/messages/{{id}}/reactions/{{emoji}}/@me" for verb in ("PUT", "DELETE"))
    posting = "POST /channels/{id}/messages"

    @classmethod
    @contextmanager
    def opened(cls, database_url: str, redis_url: str) -> Iterator[DiscordChat]:
        with serving_discord() as fake:
            chat = cls(database_url, redis_url)
            chat.fake = fake
            chat.guild = fake.guild("lab")
            chat.people = {name: fake.person(name) for name in ("ann", "bob")}
            chat.people["robot"] = fake.person("robot", bot=True)
            chat.channel = fake.channel(chat.guild, "general")
            chat.direct = {name: fake.dm_with(who) for name, who in chat.people.items() if not who.bot}
            chat.threads = []
            try:
                yield chat
            finally:
                chat.close()

    def config(self) -> dict[str, Any]:
        return {
            "kind": "discord",
            "name": NAME,
            "bot_token": self.fake.token,
            "public_key": self.fake.public_key,
            "api_url": f"{self.fake.origin}/api/v10",
        }

    def url(self, ingress: int = 0) -> str:
        return f"{self.ingresses[ingress].origin}/discord/{NAME}/interactions"

    def event(self, message: Any, ingress: int = 0) -> None:
        """As the gateway does with a MESSAGE_CREATE."""
        core = self.ingresses[ingress].core
        adapter = core.adapters[NAME]
        assert isinstance(adapter, DiscordAdapter)
        happening = adapter.understand(self.fake.told(message))
        if happening is not None:
            enter(desk_of(core), adapter.settings, happening)

    def deliver(self, message: Any) -> Any:
        self.event(message)
        return message

    def dm(self, text: str, who: str = "ann") -> Any:
        return self.deliver(self.fake.say(self.direct[who], self.people[who], text))

    def say(self, text: str, who: str = "ann", *, mention: bool = False, thread: Any = None) -> Any:
        text = f"{self.fake.bot.mention} {text}" if mention else text
        if thread is None:
            place = self.fake.channel(self.guild, "a talk", "thread", parent=self.channel)
            self.threads.append(place)
        else:
            place = next(one for one in self.threads if one.id == thread.channel.id)
        return self.deliver(self.fake.say(place, self.people[who], text))

    def redeliver(self, said: Any, ingress: int = 0) -> int:
        self.event(said, ingress)
        return 200

    def of_bot(self, where: str) -> list[Any]:
        channels = [self.channel, *self.threads] if where == "channel" else self.direct.values()
        found = [m for channel in channels for m in self.fake.messages(channel) if m.author.id == self.fake.bot.id]
        return sorted((m for m in found if not m.ephemeral), key=lambda message: int(message.id))

    def heard(self, where: str) -> list[str]:
        return [read(message) for message in self.of_bot(where) if not message.attachments]

    def edits(self, where: str) -> int:
        return len([c for c in self.fake.called("PATCH /channels/{id}/messages/{id}") if c.status == 200])

    def delete_last(self, where: str) -> None:
        self.fake.delete(self.of_bot(where)[-1])

    def buttons(self, where: str) -> list[dict[str, str]]:
        return [button for message in self.of_bot(where)[-1:] for button in message.buttons()]

    def press(self, where: str, label: str, who: str = "ann") -> str:
        (card,) = [message for message in self.of_bot(where) if message.buttons()]
        button = next(button for button in card.buttons() if button["label"].startswith(label))
        result = self.fake.press(self.url(), self.people[who], card, button["custom_id"])
        assert result.status == 200, result.body
        return str((result.body.get("data") or {}).get("content") or "")

    def order(self, text: str, who: str = "ann") -> str:
        place = self.threads[-1] if self.threads else self.channel
        result = self.fake.interact(self.url(), self.people[who], place, "heyfleet", {"command": text})
        assert result.status == 200, result.body
        return str(result.body["data"]["content"])

    def marks(self, said: Any) -> list[str]:
        return [emoji for emoji, people in said.reactions.items() if self.fake.bot.id in people]

    def files(self, where: str) -> list[tuple[str, bytes]]:
        return [(file.filename, file.content) for message in self.of_bot(where) for file in message.attachments]

    def share(self, text: str, name: str, content: bytes) -> Any:
        kind = "text/plain" if name.endswith(".txt") else "application/octet-stream"
        attached = [(name, content, kind)]
        return self.deliver(self.fake.say(self.direct["ann"], self.people["ann"], text, attachments=attached))

    def forged(self) -> int:
        return int(self.fake.ping(self.url(), signature="00" * 64).status)

    def bot_says(self) -> None:
        self.deliver(self.fake.say(self.direct["ann"], self.fake.bot, "I said this"))


def read(message: Any) -> str:
    """A message's text as people see it."""
    texts = [str(embed["description"]) for embed in message.embeds] or [message.content]
    return "".join(texts).replace("\\", "")
