"""The fake must refuse what the real Bot API refuses, or the tests that stand on it prove nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2 as httpx
import pytest

from tests.fakes.telegram import FakeTelegram, serving_telegram
from tests.fakes.telegram.entities import parse, parsed_text, problem_of

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4)
TALL = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (640).to_bytes(4) + (9999).to_bytes(4)


@pytest.fixture
def fake() -> Iterator[FakeTelegram]:
    with serving_telegram() as fake:
        fake.lenient = True
        yield fake


def call(fake: FakeTelegram, method: str, **params: Any) -> Any:
    """The result, or "code description" of what was refused."""
    answer = httpx.post(fake.url(method), json=params, timeout=20).json()
    return answer["result"] if answer["ok"] else f"{answer['error_code']} {answer['description']}"


def updates(fake: FakeTelegram, **params: Any) -> list[Any]:
    found = call(fake, "getUpdates", **params)
    assert isinstance(found, list), found
    return found


def texts(found: list[Any]) -> list[str]:
    return [update["message"]["text"] for update in found]


class Aside:
    """A call in a thread."""

    def __init__(self, fake: FakeTelegram, method: str, **params: Any) -> None:
        self.result: Any = None
        self._thread = threading.Thread(target=self._run, args=(fake, method), kwargs=params, daemon=True)
        before = fake.updates._turn
        self._thread.start()
        fake.wait_for(lambda: fake.updates._turn > before)

    def _run(self, fake: FakeTelegram, method: str, **params: Any) -> None:
        self.result = call(fake, method, **params)

    def done(self) -> Any:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.result


# --- requests


def test_token_method_and_status(fake: FakeTelegram) -> None:
    assert call(fake, "getMe")["username"] == "heyfleet_bot"
    assert call(fake, "GETME")["id"] == fake.bot.id
    assert call(fake, "getYou") == "404 Not Found: method not found"
    wrong = httpx.get(f"{fake.origin}/bot123:other/getMe")
    assert (wrong.status_code, wrong.json()) == (401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
    assert httpx.get(f"{fake.origin}/botnonsense/getMe").status_code == 404
    assert call(fake, "sendMessage", text="hi") == "400 Bad Request: chat_id is empty"
    assert fake.problems == []
    httpx.get(fake.url("getMe"), params={"token": fake.token})
    assert "the token is in the query string" in fake.problems[0]
    assert fake.problems[1] == "getMe: there is no parameter token"


def test_parameters_come_in_four_ways(fake: FakeTelegram) -> None:
    ann = fake.private(fake.person("Ann"))
    params = {
        "chat_id": str(ann.id),
        "text": "hi",
        "reply_markup": '{"inline_keyboard":[[{"text":"a","url":"tg://x"}]]}',
    }
    url = fake.url("sendMessage")
    for answer in (
        httpx.get(url, params=params),
        httpx.post(url, data=params),
        httpx.post(url, json=params | {"chat_id": ann.id}),
        httpx.post(url, data=params, files={"unused": ("n", b"x")}),
    ):
        assert answer.json()["result"]["reply_markup"]["inline_keyboard"][0][0]["text"] == "a", answer.text
    assert httpx.post(url, content=b"{", headers={"content-type": "application/json"}).status_code == 400


# --- sending


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"text": ""}, "message text is empty"),
        ({"text": " \n"}, "text must be non-empty"),
        ({"text": "<b></b>", "parse_mode": "HTML"}, "text must be non-empty"),
        ({"text": "😀" * 2049}, "message is too long"),
        ({"text": "<p>x</p>", "parse_mode": "HTML"}, "can't parse entities: Unsupported start tag"),
        ({"text": "x", "parse_mode": "MD"}, "unsupported parse_mode"),
        ({"text": "x", "chat_id": 5}, "chat not found"),
        ({"text": "x", "reply_parameters": {"message_id": 999}}, "message to be replied not found"),
        ({"text": "x", "reply_parameters": "{"}, "can't parse reply parameters JSON object"),
        ({"text": "x", "message_thread_id": 77}, "message thread not found"),
        ({"text": "x", "message_thread_id": 1}, "message thread not found"),
        ({"text": "x", "link_preview_options": 1}, "object expected as link preview options"),
        ({"text": "x", "reply_markup": "{"}, "can't parse reply keyboard markup"),
        ({"text": "x", "reply_markup": {"inline_keyboard": [{"text": "a"}]}}, "must be an Array of Arrays"),
        ({"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a"}]]}}, "Text buttons are unallowed"),
        ({"text": "x", "reply_markup": {"inline_keyboard": [[{"callback_data": "a"}]]}}, "Can't find field"),
        (
            {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a", "callback_data": "é" * 33}]]}},
            "BUTTON_DATA_INVALID",
        ),
    ],
)
def test_messages_that_are_refused(fake: FakeTelegram, params: dict[str, Any], said: str) -> None:
    chat = fake.supergroup("Team", forum=True)
    found = call(fake, "sendMessage", **({"chat_id": chat.id} | params))
    assert str(found).startswith("400 Bad Request: ")
    assert said in found
    assert fake.messages(chat) == []


def test_the_longest_message_goes(fake: FakeTelegram) -> None:
    chat = fake.private(fake.person("Ann"))
    sent = call(fake, "sendMessage", chat_id=chat.id, text=f"<b>{'😀' * 2048}</b>", parse_mode="HTML")
    assert sent["entities"] == [{"type": "bold", "offset": 0, "length": 4096}]


def test_who_can_not_be_written_to(fake: FakeTelegram) -> None:
    ann, bo = fake.person("Ann"), fake.person("Bo")
    group, channel = fake.group("G"), fake.channel("C")
    assert call(fake, "sendMessage", chat_id=bo.id, text="x") == (
        "403 Forbidden: bot can't initiate conversation with a user"
    )
    fake.private(ann)
    fake.block(ann)
    fake.kick(group, bo)
    fake.kick(channel, bo)
    said = [call(fake, "sendMessage", chat_id=one, text="x") for one in (ann.id, group.id, channel.id)]
    assert said == [
        "403 Forbidden: bot was blocked by the user",
        "403 Forbidden: bot was kicked from the group chat",
        "403 Forbidden: bot was kicked from the channel chat",
    ]
    assert [update["my_chat_member"]["new_chat_member"]["status"] for update in updates(fake)] == ["kicked"] * 3
    fake.unblock(ann)
    assert call(fake, "sendMessage", chat_id=ann.id, text="x")["chat"]["id"] == ann.id


def test_a_group_moves(fake: FakeTelegram) -> None:
    group = fake.group("G")
    fake.say(group, fake.person("Ann"), "/hi")
    new = fake.migrate(group)
    assert group.id > -(10**11) > new.id
    answer = httpx.post(fake.url("sendMessage"), json={"chat_id": group.id, "text": "x"})
    assert answer.status_code == 400
    assert answer.json()["parameters"] == {"migrate_to_chat_id": new.id}
    moved = [update["message"] for update in updates(fake)][1:]
    assert (moved[0]["migrate_to_chat_id"], moved[1]["migrate_from_chat_id"]) == (new.id, group.id)
    assert call(fake, "sendMessage", chat_id=new.id, text="x")["message_id"] == 2


def test_replies_and_topics(fake: FakeTelegram) -> None:
    ann, forum = fake.person("Ann", username="ann_a"), fake.supergroup("F", forum=True)
    fake.privacy = False
    topic = fake.topic(forum, ann, "Plans")
    asked = fake.say(forum, ann, "well?", thread_id=topic).message
    assert asked is not None
    sent = call(fake, "sendMessage", chat_id=forum.id, text="x", reply_parameters={"message_id": asked.message_id})
    assert (sent["message_thread_id"], sent["is_topic_message"]) == (topic, True)
    assert sent["reply_to_message"]["text"] == "well?"
    # In a topic, what answers nothing answers the message that began it.
    assert updates(fake)[1]["message"]["reply_to_message"]["forum_topic_created"]["name"] == "Plans"
    allowed = {"message_id": 999, "allow_sending_without_reply": True}
    assert "reply_to_message" not in call(fake, "sendMessage", chat_id=forum.id, text="x", reply_parameters=allowed)
    assert [one.thread_id for one in fake.messages(forum)] == [topic, topic, topic, None]
    # Threads of a group without topics are told, but can't be written to.
    team = fake.supergroup("T")
    first = fake.say(team, ann, "one").message
    second = fake.say(team, ann, "two", reply_to=first).body
    assert first is not None
    assert second["message_thread_id"] == first.message_id
    assert call(fake, "sendMessage", chat_id=team.id, text="x", message_thread_id=first.message_id) == (
        "400 Bad Request: message thread not found"
    )


def test_edits_deletes_and_reactions(fake: FakeTelegram) -> None:
    ann, keys = fake.person("Ann"), {"inline_keyboard": [[{"text": "Go", "callback_data": "go"}]]}
    group = fake.group("G")
    hers = fake.say(group, ann, "/hers").message
    assert hers is not None
    sent = call(fake, "sendMessage", chat_id=group.id, text="<b>one</b>", parse_mode="HTML", reply_markup=keys)
    mine = {"chat_id": group.id, "message_id": sent["message_id"]}
    theirs = {"chat_id": group.id, "message_id": hers.message_id}
    none = {"chat_id": group.id, "message_id": 999}
    refused = [
        call(fake, "editMessageText", **mine, text="<b>one</b>", parse_mode="HTML", reply_markup=keys),
        call(fake, "editMessageReplyMarkup", **mine, reply_markup=keys),
        call(fake, "editMessageText", **none, text="x"),
        call(fake, "editMessageText", **theirs, text="x"),
        call(fake, "editMessageText", **mine, text="x" * 4097),
        call(fake, "editMessageText", **mine, text="x", reply_markup={"force_reply": True}),
        call(fake, "deleteMessage", **none),
        call(fake, "deleteMessage", **theirs),
        call(fake, "setMessageReaction", **theirs, reaction=[{"type": "emoji", "emoji": "🍏"}]),
        call(fake, "setMessageReaction", **theirs, reaction=[{"type": "emoji", "emoji": "👍"}] * 2),
        call(fake, "setMessageReaction", **none, reaction=[]),
        call(fake, "sendChatAction", chat_id=group.id, action="sleeping"),
    ]
    assert [said.removeprefix("400 Bad Request: ").partition(":")[0] for said in refused] == [
        "message is not modified",
        "message is not modified",
        "message to edit not found",
        "message can't be edited",
        "MESSAGE_TOO_LONG",
        "inline keyboard expected",
        "message to delete not found",
        "message can't be deleted",
        "REACTION_INVALID",
        "REACTIONS_TOO_MANY",
        "message to react not found",
        "wrong parameter action in request",
    ]
    assert call(fake, "setMessageReaction", **theirs, reaction='[{"type":"emoji","emoji":"❤️"}]') is True
    assert call(fake, "setMessageReaction", **theirs, reaction=[{"type": "emoji", "emoji": "👀"}]) is True
    assert call(fake, "editMessageText", **mine, text="two")["text"] == "two"
    bot_message = fake.messages(group)[-1]
    assert (bot_message.text, bot_message.edits, bot_message.markup, hers.reactions) == ("two", ["one"], None, ["👀"])
    assert call(fake, "deleteMessage", **mine) is True
    assert fake.messages(group.id) == [hers]
    assert call(fake, "sendChatAction", chat_id=group.id, action="typing") is True
    assert fake.actions == [(group.id, "typing", None)]


def test_files(fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    chat = fake.private(ann)

    def send(method: str, name: str, content: bytes, **more: str) -> Any:
        files = {"photo" if method == "sendPhoto" else "document": (name, content)}
        return httpx.post(fake.url(method), data={"chat_id": str(chat.id), **more}, files=files).json()

    fake.limits.upload_bytes, fake.limits.download_bytes, fake.limits.photo_bytes = 1000, 100, 100
    content = b"\r\n--x\r\n\0" * 12
    sent = send("sendDocument", "é.txt", content, caption="<i>c</i>", parse_mode="HTML")["result"]
    assert (sent["document"]["file_name"], sent["caption"]) == ("é.txt", "c")
    got = call(fake, "getFile", file_id=sent["document"]["file_id"])
    path = f"{fake.origin}/file/bot{fake.token}/"
    assert httpx.get(path + got["file_path"]).content == content
    assert httpx.get(path + "documents/other").status_code == 404
    assert send("sendDocument", "a", b"x" * 1001)["error_code"] == 413
    assert "caption is too long" in send("sendDocument", "a", b"x", caption="x" * 1025)["description"]
    assert "must be non-empty" in send("sendDocument", "a", b"")["description"]
    assert send("sendPhoto", "a.png", PNG)["result"]["photo"][-1]["file_size"] == len(PNG)
    assert "IMAGE_PROCESS_FAILED" in send("sendPhoto", "a.png", b"text")["description"]
    assert "PHOTO_INVALID_DIMENSIONS" in send("sendPhoto", "a.png", TALL)["description"]
    assert "too big for a photo" in send("sendPhoto", "a.png", PNG + b"x" * 100)["description"]
    assert "no document in the request" in call(fake, "sendDocument", chat_id=chat.id)
    assert "wrong file identifier" in call(fake, "sendDocument", chat_id=chat.id, document="x")
    assert "failed to get HTTP URL" in call(fake, "sendDocument", chat_id=chat.id, document="http://127.0.0.1/")
    again = call(fake, "sendDocument", chat_id=chat.id, document=sent["document"]["file_id"])
    assert again["document"]["file_id"] == sent["document"]["file_id"]
    assert "invalid file_id" in call(fake, "getFile", file_id="x")
    said = fake.say(chat, ann, document=("big.bin", b"x" * 101), caption="see").body
    assert said["caption"] == "see"
    assert "file is too big" in call(fake, "getFile", file_id=said["document"]["file_id"])
    photo = fake.say(chat, ann, photo=("p.jpg", b"x")).body["photo"]
    assert call(fake, "getFile", file_id=photo[0]["file_id"])["file_path"].startswith("photos/")


def test_buttons(fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    keys = {"inline_keyboard": [[{"text": "Go", "callback_data": "go"}]]}
    sent = call(fake, "sendMessage", chat_id=fake.private(ann).id, text="?", reply_markup=keys)
    with pytest.raises(AssertionError):
        fake.press(ann, fake.messages(ann.id)[0], "other")
    press = fake.press(ann, sent["message_id"], "go", fake.private(ann))
    (update,) = updates(fake)
    query = update["callback_query"]
    assert (query["data"], query["message"]["message_id"], query["from"]["id"]) == ("go", sent["message_id"], ann.id)
    assert call(fake, "answerCallbackQuery", callback_query_id=query["id"], text="ok") is True
    assert fake.answers(press) == [{"text": "ok", "show_alert": False}]
    too_long = call(fake, "answerCallbackQuery", callback_query_id=query["id"], text="x" * 201)
    assert too_long == "400 Bad Request: MESSAGE_TOO_LONG"
    fake.limits.query_seconds = 0
    for query_id in (query["id"], "1"):
        assert "query is too old" in call(fake, "answerCallbackQuery", callback_query_id=query_id)


def test_commands_chats_and_members(fake: FakeTelegram) -> None:
    good = [{"command": "new", "description": "Begin"}]
    assert call(fake, "setMyCommands", commands=good, scope={"type": "all_private_chats"}) is True
    assert call(fake, "getMyCommands", scope={"type": "all_private_chats"}) == good
    assert call(fake, "getMyCommands") == []
    for commands, said in (
        ([{"command": "New", "description": "x"}], "BOT_COMMAND_INVALID"),
        ([{"command": "n" * 33, "description": "x"}], "BOT_COMMAND_INVALID"),
        ([{"command": "new", "description": "x" * 257}], "BOT_COMMAND_DESCRIPTION_INVALID"),
        ([{"command": "new", "description": ""}], "command description must be non-empty"),
        ([{"command": "new"}], 'Can\'t find field "description"'),
        (good * 101, "BOT_COMMANDS_TOO_MUCH"),
    ):
        assert said in call(fake, "setMyCommands", commands=commands)
    ann, bo, team = fake.person("Ann"), fake.person("Bo"), fake.supergroup("Team", forum=True)
    fake.say(team, ann, "hi")
    assert call(fake, "getChat", chat_id=team.id)["is_forum"] is True
    assert call(fake, "getChat", chat_id=-1) == "400 Bad Request: chat not found"
    assert call(fake, "getChatMember", chat_id=team.id, user_id=ann.id)["status"] == "member"
    assert call(fake, "getChatMember", chat_id=team.id, user_id=bo.id)["status"] == "left"
    assert call(fake, "getChatMember", chat_id=team.id, user_id=1) == "400 Bad Request: invalid user_id specified"


# --- HTML


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("é<br>", 'Unsupported start tag "br" at byte offset 2'),
        ("<b", "Unclosed start tag at byte offset 0"),
        ('<a href="x', "Unclosed start tag at byte offset 0"),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b><i>x</b></i>", 'Unmatched end tag at byte offset 7, expected "</i>", found "</b>"'),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ("<a href>x</a>", 'Expected equal sign in declaration of an attribute of the tag "a" at byte offset 0'),
        ("<a href=http://x>x</a>", "Unexpected end of name token at byte offset 0"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
        ('<tg-emoji emoji-id="x">x</tg-emoji>', "Invalid custom emoji identifier specified"),
        ("&#xD800;", "Text contains invalid Unicode characters"),
        (
            '<B>x</b> &lt;&amp;&#39; &nbsp; <span class="tg-spoiler">y</span> <blockquote expandable>z</blockquote>',
            None,
        ),
        ('<a href="https://example.org/?a=1&amp;b=2>">x</a>', None),
    ],
)
def test_html_is_checked(html: str, problem: str | None) -> None:
    found = problem_of(html)
    assert found is None if problem is None else (found or "").startswith(problem)


def test_html_is_read() -> None:
    assert parsed_text(" <b>a &lt; b</b> &#128512;&copy; \n") == "a < b 😀&copy;"
    code = parse('😀 <pre><code class="language-py">x=1</code></pre> <a href="tg://user?id=7">Ann</a>')
    assert code.entities == [
        {"type": "pre", "offset": 3, "length": 3, "language": "py"},
        {"type": "text_mention", "offset": 7, "length": 3, "user": {"id": 7}},
    ]
    assert parse("<code><b>x</b></code>").entities == [{"type": "code", "offset": 0, "length": 1}]
    assert parse("a & b <code><b>x</b></code>").faults == [
        '"&" is not escaped at byte offset 2',
        "<b> in <code> is lost",
    ]


# --- updates


def test_updates_stay_until_an_offset_confirms_them(fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    chat = fake.private(ann)
    said = [fake.say(chat, ann, f"m{number}") for number in range(4)]
    assert texts(updates(fake)) == texts(updates(fake)) == ["m0", "m1", "m2", "m3"]
    assert texts(updates(fake, limit=2)) == ["m0", "m1"]
    assert texts(updates(fake, offset=said[2].update_id)) == ["m2", "m3"]
    assert texts(updates(fake)) == ["m2", "m3"]
    assert texts(updates(fake, offset=-1)) == ["m3"]
    assert updates(fake, offset=said[3].update_id + 1) == updates(fake) == []


def test_long_polling(fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    chat = fake.private(ann)
    begun = time.monotonic()
    assert updates(fake, timeout=1) == []
    assert time.monotonic() - begun >= 1
    poll = Aside(fake, "getUpdates", timeout=20)
    fake.say(chat, ann, "now")
    assert texts(poll.done()) == ["now"]
    assert time.monotonic() - begun < 10


def test_two_pollers_are_in_conflict(fake: FakeTelegram) -> None:
    first = Aside(fake, "getUpdates", timeout=20)
    second = Aside(fake, "getUpdates", timeout=20)
    assert first.done().startswith("409 Conflict: terminated by other getUpdates request")
    assert fake.conflicts == 1
    assert call(fake, "setWebhook", url="https://example.org/hook") is True
    assert second.done() == "409 Conflict: terminated by setWebhook request"
    assert "409 Conflict: can't use getUpdates method while webhook is active" in call(fake, "getUpdates")
    assert fake.conflicts == 3


def test_a_poller_that_is_gone_is_in_no_conflict(fake: FakeTelegram) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(fake.url("getUpdates"), json={"timeout": 20}, timeout=0.2)
    assert updates(fake, timeout=1) == []
    assert fake.conflicts == 0


def test_allowed_updates(fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    chat = fake.private(ann)
    fake.say(chat, ann, "before")
    assert texts(updates(fake, allowed_updates=["edited_message", "mesage"])) == ["before"]
    assert fake.problems == ["allowed_updates: there are no mesage"]
    assert fake.say(chat, ann, "unwanted").update_id == 0
    fake.say(chat, ann, "changed", edited=True)
    found = updates(fake)
    assert found[1]["edited_message"]["text"] == "changed"
    assert found[1]["edited_message"]["edit_date"]


def test_what_the_bot_gets_of_a_group(fake: FakeTelegram) -> None:
    ann, bo = fake.person("Ann"), fake.person("Bo")
    other = fake.person("Other", bot=True, username="other_bot")
    team = fake.supergroup("Team")
    call(fake, "sendMessage", chat_id=team.id, text="here I am")
    mine = fake.messages(team)[0]
    got = [
        fake.say(team, ann, "/do it"),
        fake.say(team, ann, "/do@heyfleet_bot it"),
        fake.say(team, ann, "😀 hey @Heyfleet_bot!"),
        fake.say(team, ann, "yes", reply_to=mine),
        fake.say(team, ann, "you, bot", mentions={"bot": fake.bot}),
    ]
    not_got = [
        fake.say(team, ann, "hello"),
        fake.say(team, ann, "mail@heyfleet_bot.org and Bo", mentions={"Bo": bo}),
        fake.say(team, ann, "/do@other_bot it"),
        fake.say(team, other, "@heyfleet_bot"),
        fake.say(team, ann, "/do it"),  # now it is for the other bot
    ]
    assert all(update.update_id for update in got)
    assert not any(update.update_id for update in not_got)
    assert [update["update_id"] for update in updates(fake)] == [update.update_id for update in got]
    fake.privacy = False
    assert fake.say(team, ann, "hello").update_id
    assert not fake.say(team, other, "hello").update_id
    kinds = [[one["type"] for one in update.body["entities"]] for update in got if "entities" in update.body]
    assert kinds == [["bot_command"], ["bot_command"], ["mention"], ["text_mention"]]
    assert got[2].body["entities"][0]["offset"] == 7
    news = fake.channel("News")
    assert fake.say(news, ann, "post").kind == "channel_post"
    post = fake.say(news, ann, "post!", edited=True)
    assert (post.kind, post.body["sender_chat"]["id"], "from" in post.body) == ("edited_channel_post", news.id, False)


# --- webhook


@dataclass
class Hook:
    """A receiver of updates."""

    url: str = ""
    plan: list[tuple[int, dict[str, str], Any]] = field(default_factory=list)
    """Answers of the next POSTs: status, headers, body; then 200."""
    got: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[str | None] = field(default_factory=list)
    seconds: float = 0

    def texts(self) -> list[str]:
        return [one["message"]["text"] for one in self.got if "message" in one]


@contextmanager
def hook() -> Iterator[Hook]:
    state = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            state.secrets.append(self.headers.get("X-Telegram-Bot-Api-Secret-Token"))
            status, headers, body = state.plan.pop(0) if state.plan else (200, {}, {})
            time.sleep(state.seconds)  # a slow one
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/hook?a=1"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"url": "http://example.org/"}, "bad webhook: An HTTPS URL must be provided"),
        ({"url": "https://example.org:9000/"}, "bad webhook: Webhook can be set up only on ports"),
        ({"url": "ftp://example.org/"}, "invalid webhook URL"),
        ({"url": "https://example.org/", "secret_token": "x" * 257}, "secret token is too long"),
        ({"url": "https://example.org/", "secret_token": "a b"}, "secret token contains unallowed characters"),
    ],
)
def test_webhooks_that_are_refused(fake: FakeTelegram, params: dict[str, Any], said: str) -> None:
    assert said in call(fake, "setWebhook", **params)
    assert call(fake, "getWebhookInfo")["url"] == ""


def test_a_webhook_gets_each_chat_in_order_in_spite_of_failures(fake: FakeTelegram) -> None:
    ann, bo = fake.person("Ann"), fake.person("Bo")
    fake.say(fake.private(ann), ann, "a0")
    with hook() as receiver:
        receiver.plan = [(500, {}, {}), (302, {"Location": receiver.url}, {}), (200, {}, {})]
        assert call(fake, "setWebhook", url=receiver.url, secret_token="S-1") is True
        fake.wait_for(lambda: receiver.texts() == ["a0"] * 3)
        assert set(receiver.secrets) == {"S-1"}
        fake.wait_for(lambda: call(fake, "getWebhookInfo")["pending_update_count"] == 0)
        said = call(fake, "getWebhookInfo")["last_error_message"]
        assert said == "Wrong response from the webhook: 302 Found"
        receiver.seconds = 0.05
        receiver.got.clear()
        for number in range(4):
            fake.say(fake.private(ann), ann, f"a{number}")
            fake.say(fake.private(bo), bo, f"b{number}")
        fake.wait_for(lambda: len(receiver.got) == 8)
        assert [text for text in receiver.texts() if text[0] == "a"] == ["a0", "a1", "a2", "a3"]
        assert [text for text in receiver.texts() if text[0] == "b"] == ["b0", "b1", "b2", "b3"]
        fake.wait_for(lambda: len(fake.deliveries) == 11)
        assert [one.status for one in fake.deliveries][:3] == [500, 302, 200]


def test_a_webhook_that_is_slow_or_absent(fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    chat = fake.private(ann)
    fake.limits.webhook_seconds = 0.1
    with hook() as receiver:
        receiver.seconds = 0.5
        call(fake, "setWebhook", url=receiver.url)
        fake.say(chat, ann, "one")
        fake.say(chat, ann, "two")
        fake.wait_for(lambda: len(receiver.got) >= 2)
        assert set(receiver.texts()) == {"one"}
        assert call(fake, "getWebhookInfo")["last_error_message"] == "Read timeout expired"
        assert call(fake, "getWebhookInfo")["pending_update_count"] == 2
        assert fake.post("http://127.0.0.1:1/", {}).body == b"Connection refused"
        # What is pending stays for polling, unless one says otherwise.
        assert call(fake, "deleteWebhook") is True
        assert texts(updates(fake)) == ["one", "two"]
        call(fake, "deleteWebhook", drop_pending_updates=True)
        assert updates(fake) == []


def test_retry_after_of_a_webhook_is_kept_to(fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    with hook() as receiver:
        receiver.plan = [(429, {"Retry-After": "1"}, {})]
        call(fake, "setWebhook", url=receiver.url)
        fake.say(fake.private(ann), ann, "one")
        fake.wait_for(lambda: len(fake.deliveries) == 2)
        first, second = fake.deliveries
        assert second.at - first.at >= 1


def test_a_webhook_may_answer_with_a_call(fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    chat = fake.private(ann)
    with hook() as receiver:
        receiver.plan = [
            (200, {}, {"method": "sendmessage", "chat_id": chat.id, "text": "at once"}),
            (200, {}, {"method": "deleteWebhook"}),
            (200, {}, {"method": "sendMessage", "chat_id": 5, "text": "x"}),
        ]
        call(fake, "setWebhook", url=receiver.url)
        for number in range(3):
            fake.say(chat, ann, f"m{number}")
        fake.wait_for(lambda: len(fake.webhook_replies) == 2)
        assert [(one.name, one.status) for one in fake.webhook_replies] == [("sendMessage", 200), ("sendMessage", 400)]
        assert "at once" in [one.text for one in fake.messages(chat)]
        assert call(fake, "getWebhookInfo")["url"] == receiver.url


def test_duplicates_and_forgeries(fake: FakeTelegram) -> None:
    ann = fake.person("Ann")
    with hook() as receiver:
        call(fake, "setWebhook", url=receiver.url, secret_token="right")
        update = fake.say(fake.private(ann), ann, "one")
        fake.wait_for(lambda: receiver.got)
        assert fake.redeliver(update).status == 200
        assert fake.post(receiver.url, update, secret="wrong").good
        assert fake.post(receiver.url, b'{"update_id": 1}').good
        assert [one["update_id"] for one in receiver.got] == [update.update_id] * 3 + [1]
        assert receiver.secrets == ["right", "right", "wrong", None]


# --- limits and planned trouble


def test_too_much_to_one_chat(fake: FakeTelegram) -> None:
    chat = fake.private(fake.person("Ann"))
    fake.lenient = False
    answers = [httpx.post(fake.url("sendMessage"), json={"chat_id": chat.id, "text": str(n)}) for n in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[3].json()
    wait = refused["parameters"]["retry_after"]
    assert refused["description"] == f"Too Many Requests: retry after {wait}"
    assert len(fake.violations) == 1
    assert fake.problems == []
    assert "429" in call(fake, "sendMessage", chat_id=chat.id, text="too early")
    assert "before the end of a wait" in fake.problems[0]
    assert call(fake, "getMe")["is_bot"]
    fake.wait_for(lambda: fake._patience.left("sendMessage", str(chat.id)) <= 0)
    assert call(fake, "sendMessage", chat_id=chat.id, text="in time")["text"] == "in time"


def test_too_much_to_a_group_and_altogether(fake: FakeTelegram) -> None:
    fake.lenient = False
    fake.limits.per_chat.count = 100
    group = fake.group("G")
    said = [call(fake, "sendMessage", chat_id=group.id, text="x") for _ in range(21)]
    assert said[20].startswith("429 Too Many Requests: retry after ")
    fake.limits.overall.count = 5
    chats = [fake.private(fake.person(f"P{number}")) for number in range(30)]
    said = [call(fake, "sendMessage", chat_id=chat.id, text="x") for chat in chats]
    assert any(str(one).startswith("429") for one in said)
    assert len(fake.violations) >= 2


def test_setting_a_webhook_again_and_again(fake: FakeTelegram) -> None:
    fake.lenient = False
    assert call(fake, "setWebhook", url="https://example.org/") is True
    assert call(fake, "setWebhook", url="https://example.org/").startswith("429 ")


def test_planned_trouble(fake: FakeTelegram) -> None:
    chat, other = fake.private(fake.person("Ann")), fake.private(fake.person("Bo"))
    fake.plan("sendMessage", "500", "drop", "applied-drop", "429 1")
    send = {"chat_id": chat.id, "text": "x"}
    assert httpx.post(fake.url("sendMessage"), json=send).status_code == 500
    for _ in range(2):
        with pytest.raises(httpx.HTTPError):
            httpx.post(fake.url("sendMessage"), json=send)
    assert len(fake.messages(chat)) == 1
    assert call(fake, "sendMessage", **send) == "429 Too Many Requests: retry after 1"
    assert call(fake, "sendMessage", chat_id=other.id, text="x")["text"] == "x"
    assert fake.problems == []
    fake.plan("getMe", "429 1 global")
    assert call(fake, "getMe").startswith("429")
    assert updates(fake) == []
    assert fake.problems == []
    assert call(fake, "getChat", chat_id=other.id).startswith("429")
    assert len(fake.problems) == 1
    assert [one.status for one in fake.called("sendMessage")] == [500, 0, 0, 429, 200]
