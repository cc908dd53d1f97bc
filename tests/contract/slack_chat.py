"""Slack, for the contract of adapters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.contract.chats import NAME, Chat
from tests.fakes.slack import FakeSlack, serving_slack


class SlackChat(Chat):
    fake: FakeSlack
    posting = "chat.postMessage"
    reacting = ("reactions.add", "reactions.remove")

    @classmethod
    @contextmanager
    def opened(cls, database_url: str, redis_url: str) -> Iterator[SlackChat]:
        with serving_slack() as fake:
            chat = cls(database_url, redis_url)
            chat.fake = fake
            chat.people = {name: fake.person(name) for name in ("ann", "bob")}
            chat.people["robot"] = fake.person("robot", bot=True)
            chat.channel = fake.channel("general", members=list(chat.people.values()))
            chat.direct = {name: fake.channel("", kind="im", members=[who]) for name, who in chat.people.items()}
            try:
                yield chat
            finally:
                chat.close()

    def config(self) -> dict[str, Any]:
        return {
            "kind": "slack",
            "name": NAME,
            "bot_token": self.fake.bot_token,
            "signing_secret": self.fake.signing_secret,
            "api_url": self.fake.base_url,
        }

    def url(self, ingress: int = 0) -> str:
        return f"{self.ingresses[ingress].origin}/slack/{NAME}/events"

    def deliver(self, message: Any) -> Any:
        for envelope in self.fake.events_of(message):
            results = self.fake.deliver(self.url(), envelope)
            assert [result.status for result in results] == [200], [result.why for result in results]
        return message

    def dm(self, text: str, who: str = "ann") -> Any:
        return self.deliver(self.fake.say(self.direct[who], self.people[who], text))

    def say(self, text: str, who: str = "ann", *, mention: bool = False, thread: Any = None) -> Any:
        text = f"<@{self.fake.bot_user}> {text}" if mention else text
        root = None if thread is None else thread.thread_ts or thread.ts
        return self.deliver(self.fake.say(self.channel, self.people[who], text, thread_ts=root))

    def redeliver(self, said: Any, ingress: int = 0) -> int:
        (envelope, *_) = self.fake.events_of(said)
        return int(self.fake.post_event(self.url(ingress), envelope, retry_num=1, retry_reason="http_timeout").status)

    def of_bot(self, where: str) -> list[Any]:
        channels = [self.channel] if where == "channel" else self.direct.values()
        return [m for channel in channels for m in self.fake.messages(channel) if m.user == self.fake.bot_user]

    def heard(self, where: str) -> list[str]:
        return [read(message) for message in self.of_bot(where) if not message.files]

    def edits(self, where: str) -> int:
        return len([call for call in self.fake.called("chat.update") if call.status == 200])

    def delete_last(self, where: str) -> None:
        message = self.of_bot(where)[-1]
        self.fake.channels[message.channel].messages.remove(message)

    def buttons(self, where: str) -> list[dict[str, str]]:
        return [
            {"label": element["text"]["text"], "action": element["action_id"], "value": element["value"]}
            for message in self.of_bot(where)[-1:]
            for block in message.blocks
            if block["type"] == "actions"
            for element in block["elements"]
        ]

    def press(self, where: str, label: str, who: str = "ann") -> str:
        (card,) = [m for m in self.of_bot(where) if any(block["type"] == "actions" for block in m.blocks)]
        button = next(b for b in self.buttons_of(card) if b["text"]["text"].startswith(label))
        told = len(self.fake.responses)
        click = self.fake.click(self.people[who], card, button["action_id"], button["value"])
        assert self.fake.post_interaction(self.url(), click).status == 200
        return "".join(json.dumps(response.payload) for response in self.fake.responses[told:])

    def buttons_of(self, card: Any) -> list[dict[str, Any]]:
        return [e for block in card.blocks if block["type"] == "actions" for e in block["elements"]]

    def order(self, text: str, who: str = "ann") -> str:
        result = self.fake.post_form(self.url(), self.fake.slash(self.channel, self.people[who], text))
        assert result.status == 200, result.body
        return str(result.json()["text"]) if result.body else ""

    def marks(self, said: Any) -> list[str]:
        return [name for name, users in said.reactions.items() if self.fake.bot_user in users]

    def files(self, where: str) -> list[tuple[str, bytes]]:
        return [(file.name, file.content) for message in self.of_bot(where) for file in message.files]

    def share(self, text: str, name: str, content: bytes) -> Any:
        ann = self.people["ann"]
        return self.deliver(self.fake.say(self.direct["ann"], ann, text, files=[self.fake.file(name, content, ann)]))

    def forged(self) -> int:
        message = self.fake.say(self.direct["ann"], self.people["ann"], "trust me")
        (envelope,) = self.fake.events_of(message)
        return int(self.fake.post_event(self.url(), envelope, signature="v0=00").status)

    def bot_says(self) -> None:
        message = self.fake.say(self.direct["ann"], self.fake.bot_user, "I said this", bot_id=self.fake.bot_id)
        self.deliver(message)


def read(message: Any) -> str:
    """A message's text as people see it: of its blocks where it has some."""
    texts = [block["text"]["text"] for block in message.blocks if block["type"] == "section"]
    shown = "".join(texts) if texts else message.text
    return str(shown).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
