"""A fake Telegram Bot API that refuses what the real one refuses: https://core.telegram.org/bots/api.

    with serving_telegram() as fake:
        ann = fake.person("Ann")
        fake.say(fake.private(ann), ann, "hello")
        httpx.post(fake.url("getUpdates")).json()
        httpx.post(fake.url("sendMessage"), json={"chat_id": ann.id, "text": "hello"})
        fake.messages(ann.id)[-1].text

`fake.problems` and `fake.violations` are empty at the end of a good test.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.fakes.provider import Answer, Call, Request, serving
from tests.fakes.telegram.account import Account
from tests.fakes.telegram.book import Book
from tests.fakes.telegram.limits import SENDING, Limits, Patience, excess
from tests.fakes.telegram.model import Chat, File, HttpResult, Message, Person, Update
from tests.fakes.telegram.parameters import CANONICAL, KNOWN, Parameters, Upload, parameters_of
from tests.fakes.telegram.people import People
from tests.fakes.telegram.refusals import Refusal, too_many
from tests.fakes.telegram.sending import Sending
from tests.fakes.telegram.updates import Updates
from tests.fakes.telegram.webhook import Delivery, Webhook

__all__ = ["Chat", "FakeTelegram", "File", "HttpResult", "Message", "Person", "Update", "Upload", "serving_telegram"]

TOKEN = "7000000001:AAFakeFakeFakeFakeFakeFakeFakeFake_-1"
PATH = re.compile(r"/(?P<file>file/)?bot(?P<token>[^/]*)/(?P<rest>.+)")


class FakeTelegram(People):
    def __init__(self, token: str = TOKEN, username: str = "heyfleet_bot", name: str = "Heyfleet") -> None:
        super().__init__()
        self.token = token
        self.limits = Limits()
        self.lenient = False
        """Whether one may send as much as one likes."""
        self.violations: list[str] = []
        """What was sent faster than Telegram allows."""
        self.webhook_replies: list[Call] = []
        """The method calls that came as answers of the webhook."""
        self.bot = Person(int(token.partition(":")[0]), name, True, username)
        self.book = Book(self.bot)
        self.updates = Updates(self.lock, self.closing, self.problems)
        self.webhook = Webhook(self.updates, self.closing, self.limits)
        self.webhook.reply = self._webhook_reply
        self.account = Account(self.book, self.limits)
        self._sending = Sending(self.book, self.limits, self.problems)
        self._patience = Patience()
        self._everywhere = False
        self._methods = self._all_methods()

    def _all_methods(self) -> dict[str, Callable[[Parameters], Any]]:
        sending, account = self._sending, self.account
        return {
            "getMe": lambda _: account.get_me(),
            "getUpdates": self.updates.get,
            "setWebhook": lambda params: self.webhook.set(params, self.lenient),
            "deleteWebhook": self.webhook.delete,
            "getWebhookInfo": lambda _: self.webhook.info(),
            "sendMessage": sending.send_message,
            "sendDocument": sending.send_document,
            "sendPhoto": sending.send_photo,
            "editMessageText": sending.edit_message_text,
            "editMessageReplyMarkup": sending.edit_message_reply_markup,
            "deleteMessage": sending.delete_message,
            "sendChatAction": sending.send_chat_action,
            "setMessageReaction": sending.set_message_reaction,
            "getFile": account.get_file,
            "answerCallbackQuery": account.answer_callback_query,
            "setMyCommands": account.set_my_commands,
            "getMyCommands": account.get_my_commands,
            "getChat": account.get_chat,
            "getChatMember": account.get_chat_member,
        }

    # --- for tests

    def url(self, method: str) -> str:
        return f"{self.origin}/bot{self.token}/{method}"

    @property
    def privacy(self) -> bool:
        """In groups the bot gets only what is meant for it: https://core.telegram.org/bots/features#privacy-mode."""
        return self.account.privacy

    @privacy.setter
    def privacy(self, on: bool) -> None:
        self.account.privacy = on

    @property
    def conflicts(self) -> int:
        """How many pollers were told that they are not the only one, or that there is a webhook."""
        return self.updates.conflicts

    @property
    def deliveries(self) -> list[Delivery]:
        """What was brought to the webhook, in the order of its answers."""
        with self.lock:
            return list(self.webhook.deliveries)

    @property
    def actions(self) -> list[tuple[int, str, int | None]]:
        """(chat, action, topic) of each sendChatAction."""
        with self.lock:
            return list(self.book.actions)

    def answers(self, press: Update) -> list[dict[str, object]]:
        """What answerCallbackQuery said to this press."""
        with self.lock:
            return list(self.book.queries[press.body["id"]].answers)

    def redeliver(self, update: Update) -> HttpResult:
        """Bring it to the webhook once more, as happens when an answer is lost."""
        result = self.post(self.updates.webhook_url, update, self.webhook.secret)
        with self.lock:
            if result.good:
                self.webhook.do_answer(result)
        return result

    def post(self, url: str, update: Update | Mapping[str, Any] | bytes, secret: str = "") -> HttpResult:
        """Bring it to any URL, once. If that answers with a method call, nobody makes it."""
        body = update.shown() if isinstance(update, Update) else update
        return self.webhook.post(url, body, secret)

    # --- the way of a request

    def name_of(self, request: Request) -> str:
        match = PATH.fullmatch(request.path)
        if match is None:
            return request.path
        return "file" if match["file"] else CANONICAL.get(match["rest"].lower(), match["rest"])

    def params_of(self, request: Request) -> Mapping[str, Any]:
        try:
            return parameters_of(request).values
        except Refusal:
            return {}

    def too_many(self, seconds: float, everywhere: bool) -> Answer:
        self._everywhere = everywhere
        return too_many(seconds).answer()

    def answer(self, name: str, request: Request) -> Answer:
        if any(self.token in value for value in request.query.values()):
            self.problems.append(f"{name}: the token is in the query string")
        try:
            path = self._checked_path(request)
            if name == "file":
                return Answer(200, self.account.download(path), {"Content-Type": "application/octet-stream"})
            return Answer(200, {"ok": True, "result": self._do(name, parameters_of(request))})
        except Refusal as refusal:
            return refusal.answer()

    def _checked_path(self, request: Request) -> str:
        """What follows the token: https://core.telegram.org/bots/api#authorizing-your-bot."""
        match = PATH.fullmatch(request.path)
        if match is None or not re.fullmatch(r"[1-9]\d*:[\w-]+", match["token"]):
            raise Refusal(404, "Not Found")
        if match["token"] != self.token:
            raise Refusal(401, "Unauthorized")
        return match["rest"]

    def _do(self, name: str, params: Parameters) -> Any:
        if name not in self._methods:
            raise Refusal(404, "Not Found: method not found")
        self.problems += [
            f"{name}: there is no parameter {one}"
            for one, value in params.values.items()
            if one not in KNOWN[name].split() and not isinstance(value, Upload)
        ]
        chat = self.book.find_chat(params.text("chat_id"))
        if chat and name in SENDING and not self.lenient:
            wait, everywhere = excess(self.limits, chat)
            if wait:
                self._everywhere = everywhere
                self.violations.append(f"{name} to {chat.id} came {wait:.2f} s too early")
                raise too_many(wait)
        return self._methods[name](params)

    def _answer(self, name: str, behaviour: list[str], request: Request) -> Answer:
        chat_id = str(self.params_of(request).get("chat_id", ""))
        left = self._patience.left(name, chat_id)
        if left > 0.05:  # clocks may differ a little
            self.problems.append(f"{name} {chat_id}: called {left:.2f} s before the end of a wait".replace("  ", " "))
            return too_many(left).answer()
        self._everywhere = False
        answer = super()._answer(name, behaviour, request)
        if answer.status == 429:
            # What a test plans is about one method; what is sent too fast is about all that is sent.
            place = name if behaviour[0] == "429" else "*"
            scope = ("*", "*") if self._everywhere else (place, chat_id)
            self._patience.told(*scope, answer.body["parameters"]["retry_after"])
        return answer

    def _webhook_reply(self, method: str, params: dict[str, Any]) -> None:
        name = CANONICAL.get(method.lower(), method)
        status = 200
        try:
            self._do(name, Parameters(params))
        except Refusal as refusal:
            status = refusal.code
        self.webhook_replies.append(Call(name, params, status, time.monotonic()))


@contextmanager
def serving_telegram(token: str = TOKEN, username: str = "heyfleet_bot") -> Iterator[FakeTelegram]:
    """One on a port of its own, until the block ends."""
    with serving(FakeTelegram(token, username)) as fake:
        yield fake
