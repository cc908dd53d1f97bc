"""The fake must refuse what Discord refuses, or the tests that stand on it prove nothing."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2 as httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.fakes.discord import Channel, FakeDiscord, serving_discord

AGENT = "DiscordBot (https://example.com, 1.0)"
# GUILDS, GUILD_MESSAGES, their reactions, DIRECT_MESSAGES; and with MESSAGE_CONTENT.
BASIC = 1 << 0 | 1 << 9 | 1 << 10 | 1 << 12
ALL = BASIC | 1 << 15
BUTTON = {"type": 2, "style": 1, "label": "Yes", "custom_id": "yes"}


def row(*buttons: Any) -> dict[str, Any]:
    return {"type": 1, "components": list(buttons)}


@pytest.fixture
def fake() -> Iterator[FakeDiscord]:
    with serving_discord() as served:
        # Most tests open more than one session.
        served.gateway.identify_seconds = served.gateway.after_invalid_seconds = 0
        yield served
        assert served.problems == []
        assert served.violations == []


@pytest.fixture
def channel(fake: FakeDiscord) -> Channel:
    return fake.channel(fake.guild("lab"), "general")


def call(fake: FakeDiscord, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bot {fake.token}", "User-Agent": AGENT, **more.pop("headers", {})}
    given = {"json": body} if body is not None else {}
    return httpx.request(method, f"{fake.origin}/api/v10{path}", headers=headers, **given, **more)


def post(fake: FakeDiscord, channel: Channel, **fields: Any) -> httpx.Response:
    return call(fake, "POST", f"/channels/{channel.id}/messages", fields)


def wrong(answer: httpx.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["code"]


# --- messages


def test_a_message_goes_out_and_is_changed_and_deleted(fake: FakeDiscord, channel: Channel) -> None:
    made = post(fake, channel, content=" hi ", embeds=[{"title": "t"}], components=[row(BUTTON)], nonce="n1").json()
    (message,) = fake.messages(channel)
    assert (message.id, message.content, message.author, message.nonce) == (made["id"], "hi", fake.bot, "n1")
    assert (made["components"], made["nonce"]) == ([row(BUTTON)], "n1")
    path = f"/channels/{channel.id}/messages/{made['id']}"
    changed = call(fake, "PATCH", path, {"content": "ho", "components": []}).json()
    assert (changed["content"], changed["components"]) == ("ho", [])
    assert changed["edited_timestamp"]
    assert changed["embeds"] == [{"type": "rich", "title": "t"}]
    assert call(fake, "GET", path).json() == changed
    assert call(fake, "DELETE", path).status_code == 204
    assert wrong(call(fake, "GET", path)) == (404, 10008)
    assert fake.messages(channel) == []
    assert fake.deleted == [message]
    assert [one.status for one in fake.called("PATCH /channels/{id}/messages/{id}")] == [200]


@pytest.mark.parametrize(
    ("body", "where", "code"),
    [
        ({"content": "a" * 2001}, "content", "BASE_TYPE_MAX_LENGTH"),
        ({"content": "a", "nonce": "n" * 26}, "nonce", "BASE_TYPE_MAX_LENGTH"),
        ({"content": "a", "nonce": True}, "nonce", "NONCE_TYPE_INVALID_TYPE"),
        ({"embeds": [{"title": "t"}] * 11}, "embeds", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{}]}, "embeds.0.description", "BASE_TYPE_REQUIRED"),
        ({"embeds": [{"title": "t" * 257}]}, "embeds.0.title", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{"description": "t" * 4097}]}, "embeds.0.description", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{"fields": [{"name": "n", "value": "v"}] * 26}]}, "embeds.0.fields", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{"fields": [{"name": "n"}]}]}, "embeds.0.fields.0.value", "BASE_TYPE_REQUIRED"),
        ({"embeds": [{"footer": {"text": "t" * 2049}}]}, "embeds.0.footer.text", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{"title": "t", "color": -1}]}, "embeds.0.color", "NUMBER_TYPE_MAX"),
        ({"embeds": [{"title": "t", "url": "javascript:x"}]}, "embeds.0.url", "URL_TYPE_INVALID_SCHEME"),
        ({"embeds": [{"description": "t" * 3001}] * 2}, "embeds", "MAX_EMBED_SIZE_EXCEEDED"),
        ({"components": [row(BUTTON)] * 6}, "components", "BASE_TYPE_MAX_LENGTH"),
        ({"components": [BUTTON]}, "components.0.type", "BASE_TYPE_CHOICES"),
        ({"components": [row()]}, "components.0.components", "BASE_TYPE_BAD_LENGTH"),
        ({"components": [row(*[BUTTON] * 6)]}, "components.0.components", "BASE_TYPE_BAD_LENGTH"),
        (
            {"components": [row(BUTTON, BUTTON)]},
            "components.0.components.1.custom_id",
            "COMPONENT_CUSTOM_ID_DUPLICATED",
        ),
        (
            {"components": [row({**BUTTON, "custom_id": "c" * 101})]},
            "components.0.components.0.custom_id",
            "BASE_TYPE_BAD_LENGTH",
        ),
        (
            {"components": [row({**BUTTON, "label": "c" * 81})]},
            "components.0.components.0.label",
            "BASE_TYPE_MAX_LENGTH",
        ),
        ({"components": [row({**BUTTON, "style": 9})]}, "components.0.components.0.style", "BASE_TYPE_CHOICES"),
        (
            {"components": [row({"type": 2, "style": 5, "label": "l"})]},
            "components.0.components.0.url",
            "BASE_TYPE_REQ",
        ),
        (
            {"content": "a", "allowed_mentions": {"parse": ["users"], "users": ["1"]}},
            "allowed_mentions",
            "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
        ),
        ({"content": "a", "allowed_mentions": {"parse": ["all"]}}, "allowed_mentions.parse.0", "BASE_TYPE_CHOICES"),
        ({"content": "a", "message_reference": {"message_id": "1"}}, "message_reference", "REPLIES_UNKNOWN_MESSAGE"),
        ({"content": "a", "attachments": [{"id": 3}]}, "attachments.0.id", "ATTACHMENT_NOT_FOUND"),
    ],
)
def test_forms_that_discord_refuses(fake: FakeDiscord, channel: Channel, body: Any, where: str, code: str) -> None:
    answer = post(fake, channel, **body)
    assert wrong(answer) == (400, 50035)
    at = answer.json()["errors"]
    for part in where.split("."):
        at = at[part]
    assert at["_errors"][0]["code"].startswith(code)
    assert fake.messages(channel) == []


def test_what_fits_exactly_is_taken(fake: FakeDiscord, channel: Channel) -> None:
    """Code points count, not bytes or UTF-16."""
    buttons = [{**BUTTON, "custom_id": f"{number}" * 100, "label": "l" * 80} for number in range(5)]
    answer = post(fake, channel, content="🦊" * 2000, components=[row(*buttons)], nonce="n" * 25)
    assert answer.status_code == 200
    embeds = [{"title": "t" * 256, "description": "d" * 4096}, {"description": " " + "d" * 1648 + " "}]
    assert post(fake, channel, embeds=embeds).status_code == 200


def test_other_refusals(fake: FakeDiscord, channel: Channel) -> None:
    guild = channel.guild
    assert guild is not None
    assert wrong(post(fake, channel, content=" \n")) == (400, 50006)
    hidden, mute = fake.channel(guild, "hidden"), fake.channel(guild, "mute")
    hidden.seen, mute.writable = False, False
    assert wrong(post(fake, hidden, content="a")) == (403, 50001)
    assert wrong(post(fake, mute, content="a")) == (403, 50013)
    assert wrong(post(fake, fake.channel(guild, "posts", "forum"), content="a")) == (400, 40058)
    assert wrong(post(fake, fake.channel(guild, "group", "category"), content="a")) == (400, 50008)
    assert wrong(call(fake, "GET", "/channels/1")) == (404, 10003)
    assert wrong(call(fake, "GET", "/channels/general")) == (400, 50035)
    assert wrong(call(fake, "GET", "/guilds/1")) == (404, 10004)
    assert wrong(call(fake, "GET", f"/guilds/{guild.id}/members/1")) == (404, 10007)
    assert wrong(call(fake, "GET", "/nothing")) == (404, 0)
    assert wrong(call(fake, "DELETE", "/users/@me")) == (405, 0)
    shut = fake.person("Shut")
    shut.takes_dms = False
    assert wrong(post(fake, fake.dm_with(shut), content="a")) == (403, 50007)
    theirs = fake.say(channel, shut, "mine")
    path = f"/channels/{channel.id}/messages/{theirs.id}"
    assert wrong(call(fake, "PATCH", path, {"content": "a"})) == (403, 50005)
    assert wrong(call(fake, "DELETE", path)) == (403, 50013)
    assert wrong(call(fake, "PUT", f"{path}/reactions/smile/@me")) == (400, 10014)
    raw = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    assert wrong(call(fake, "POST", f"/channels/{channel.id}/messages", **raw)) == (400, 50109)
    assert wrong(call(fake, "POST", f"/channels/{channel.id}/messages", content=b"{}")) == (400, 50035)
    assert wrong(call(fake, "POST", f"/channels/{channel.id}/messages", ["a"])) == (400, 50035)
    assert wrong(post(fake, channel, embeds=[{"footer": "text"}])) == (400, 50035)
    assert "cannot read this" in fake.problems.pop()


def test_token_and_agent(fake: FakeDiscord) -> None:
    answer = call(fake, "GET", "/users/@me", headers={"Authorization": "Bot no"})
    assert (answer.status_code, answer.json()) == (401, {"message": "401: Unauthorized", "code": 0})
    assert call(fake, "GET", "/users/@me", headers={"Authorization": fake.token}).status_code == 401
    assert call(fake, "GET", "/users/@me", headers={"User-Agent": "python"}).json()["id"] == fake.bot.id
    assert "User-Agent" in fake.problems.pop()


def test_nonce(fake: FakeDiscord, channel: Channel) -> None:
    first = post(fake, channel, content="one", nonce="n", enforce_nonce=True).json()
    again = post(fake, channel, content="two", nonce="n", enforce_nonce=True).json()
    assert (again["id"], again["content"]) == (first["id"], "one")
    assert post(fake, channel, content="three", nonce="n").json()["id"] != first["id"]
    call(fake, "DELETE", f"/channels/{channel.id}/messages/{fake.messages(channel)[-1].id}")
    assert wrong(post(fake, channel, content="four", nonce="n", enforce_nonce=True)) == (404, 10008)
    fake.nonce_seconds = 0
    assert post(fake, channel, content="five", nonce="n", enforce_nonce=True).status_code == 200
    assert [one.content for one in fake.messages(channel)] == ["one", "five"]


def test_a_nonce_in_two_channels_is_a_problem(fake: FakeDiscord, channel: Channel) -> None:
    post(fake, channel, content="a", nonce="n", enforce_nonce=True)
    post(fake, fake.dm_with(fake.person("Ann")), content="a", nonce="n", enforce_nonce=True)
    assert "two channels" in fake.problems.pop()


def test_replies_and_mentions(fake: FakeDiscord, channel: Channel) -> None:
    ann = fake.person("Ann")
    asked = fake.say(channel, ann, f"{fake.bot.mention} hello")
    answer = post(fake, channel, content="yes", message_reference={"message_id": asked.id}).json()
    assert answer["type"] == 19
    assert answer["referenced_message"]["content"] == asked.content
    assert [one["id"] for one in answer["mentions"]] == [ann.id]
    quiet: dict[str, Any] = {"parse": []}
    answer = post(fake, channel, content=f"{ann.mention} @everyone", allowed_mentions=quiet).json()
    assert (answer["mentions"], answer["mention_everyone"]) == ([], False)
    gone = {"message_id": "1", "fail_if_not_exists": False}
    answer = post(fake, channel, content="anyway", message_reference=gone).json()
    assert (answer["type"], "message_reference" in answer) == (0, False)


def test_files(fake: FakeDiscord, channel: Channel) -> None:
    payload = {"content": "look", "attachments": [{"id": 0, "description": "a cat"}]}
    files = {"files[0]": ("my cat.png", b"\r\n\x00--png", "image/png")}
    path = f"/channels/{channel.id}/messages"
    made = call(fake, "POST", path, data={"payload_json": json.dumps(payload)}, files=files).json()
    (attached,) = made["attachments"]
    assert (attached["filename"], attached["description"], attached["size"]) == ("my_cat.png", "a cat", 8)
    assert fake.messages(channel)[0].attachments[0].content == b"\r\n\x00--png"
    # The CDN asks for no token, but for its own signature.
    got = httpx.get(attached["url"])
    assert (got.content, got.headers["content-type"]) == (b"\r\n\x00--png", "image/png")
    assert httpx.get(attached["url"].split("?")[0]).status_code == 404
    kept = call(fake, "PATCH", f"{path}/{made['id']}", {"content": "no", "attachments": []}).json()
    assert kept["attachments"] == []
    fake.largest_file = 3
    assert wrong(call(fake, "POST", path, files=files)) == (413, 40005)
    many = {f"files[{number}]": ("f", b"") for number in range(11)}
    assert wrong(call(fake, "POST", path, files=many)) == (400, 30015)
    ann = fake.person("Ann")
    said = fake.say(channel, ann, "", attachments=[("a.txt", b"text", "text/plain")])
    shown = call(fake, "GET", f"{path}/{said.id}").json()["attachments"]
    assert httpx.get(shown[0]["url"]).text == "text"


def test_history_pages(fake: FakeDiscord, channel: Channel) -> None:
    ann = fake.person("Ann")
    said = [fake.say(channel, ann, str(number)).id for number in range(7)]

    def page(query: str) -> list[int]:
        found = call(fake, "GET", f"/channels/{channel.id}/messages?{query}").json()
        return [said.index(one["id"]) for one in found]

    assert page("limit=3") == [6, 5, 4]
    assert page(f"limit=2&after={said[1]}") == [3, 2]
    assert page(f"limit=2&before={said[3]}") == [2, 1]
    assert page(f"limit=3&around={said[3]}") == [4, 3, 2]
    for query in ("limit=101", "limit=0", "after=x", "after=1&before=2"):
        assert wrong(call(fake, "GET", f"/channels/{channel.id}/messages?{query}")) == (400, 50035)


def test_reactions_typing_and_threads(fake: FakeDiscord, channel: Channel) -> None:
    ann = fake.person("Ann")
    asked = fake.say(channel, ann, "hello")
    path = f"/channels/{channel.id}/messages/{asked.id}"
    assert call(fake, "PUT", f"{path}/reactions/%F0%9F%91%80/@me").status_code == 204
    assert asked.reactions == {"👀": [fake.bot.id]}
    assert call(fake, "GET", path).json()["reactions"][0]["me"]
    assert call(fake, "DELETE", f"{path}/reactions/%F0%9F%91%80/@me").status_code == 204
    assert asked.reactions == {}
    assert call(fake, "POST", f"/channels/{channel.id}/typing").status_code == 204
    assert wrong(call(fake, "POST", f"{path}/threads", {"name": "n" * 101})) == (400, 50035)
    made = call(fake, "POST", f"{path}/threads", {"name": "talk"})
    assert (made.status_code, made.json()["id"], made.json()["type"]) == (201, asked.id, 11)
    assert wrong(call(fake, "POST", f"{path}/threads", {"name": "talk"})) == (400, 160004)
    assert asked.thread is not None
    assert post(fake, asked.thread, content="in there").status_code == 200
    # Discord's own first message is in the history.
    history = call(fake, "GET", f"/channels/{asked.thread.id}/messages").json()
    assert [one["type"] for one in history] == [0, 21]
    (inside,) = fake.messages(asked.thread)
    assert wrong(call(fake, "POST", f"/channels/{asked.thread.id}/messages/{inside.id}/threads", {"name": "n"})) == (
        400,
        50024,
    )
    asked.thread.archived = True
    inside_path = f"/channels/{asked.thread.id}/messages/{inside.id}"
    assert wrong(call(fake, "PATCH", inside_path, {"content": "a"})) == (400, 50083)


def test_lookups(fake: FakeDiscord, channel: Channel) -> None:
    guild = channel.guild
    assert guild is not None
    role = fake.role(guild, "admins")
    ann = fake.person("Ann", roles=[role])
    assert call(fake, "GET", f"/guilds/{guild.id}/members/{ann.id}").json()["roles"] == [role.id]
    assert [one["name"] for one in call(fake, "GET", f"/guilds/{guild.id}/roles").json()] == ["@everyone", "admins"]
    assert [one["id"] for one in call(fake, "GET", f"/guilds/{guild.id}/channels").json()] == [channel.id]
    assert [one["id"] for one in call(fake, "GET", "/users/@me/guilds").json()] == [guild.id]
    assert call(fake, "GET", f"/guilds/{guild.id}").json()["name"] == "lab"
    assert call(fake, "GET", "/applications/@me").json()["verify_key"] == fake.public_key
    dm = call(fake, "POST", "/users/@me/channels", {"recipient_id": ann.id}).json()
    assert dm == call(fake, "GET", f"/channels/{dm['id']}").json()
    assert wrong(call(fake, "POST", "/users/@me/channels", {"recipient_id": "1"})) == (400, 50033)
    guild.left.add(ann.id)
    assert wrong(call(fake, "GET", f"/guilds/{guild.id}/members/{ann.id}")) == (404, 10007)


# --- limits


def test_channel_limit(fake: FakeDiscord, channel: Channel) -> None:
    answers = [post(fake, channel, content=str(number)) for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0"]
    refused = answers[-1]
    assert refused.json()["message"] == "You are being rate limited."
    assert refused.json()["global"] is False
    assert 3 < refused.json()["retry_after"] <= float(refused.headers["x-ratelimit-reset-after"]) + 0.01 < 5.1
    assert refused.headers["x-ratelimit-scope"] == "user"
    assert int(refused.headers["retry-after"]) >= refused.json()["retry_after"]
    other = fake.channel(channel.guild, "other")
    assert post(fake, other, content="fine").headers["x-ratelimit-bucket"] == refused.headers["x-ratelimit-bucket"]
    assert len(fake.messages(channel)) == 5
    assert len(fake.violations) == 1
    fake.violations.clear()
    fake.lenient = True
    assert post(fake, channel, content="7").status_code == 200


def test_global_limit(fake: FakeDiscord) -> None:
    fake.limits.everywhere.count = 3
    answers = [call(fake, "GET", "/users/@me") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429]
    assert answers[-1].headers["x-ratelimit-global"] == "true"
    assert answers[-1].headers["x-ratelimit-scope"] == "global"
    assert answers[-1].json()["global"] is True
    # Interactions are not bound to it.
    assert wrong(call(fake, "POST", "/interactions/1/t/callback", {"type": 4})) == (404, 10062)
    assert len(fake.violations) == 1
    fake.violations.clear()


def test_planned_failures(fake: FakeDiscord, channel: Channel) -> None:
    name = "POST /channels/{id}/messages"
    fake.plan(name, "500", "429 0.5", "429 0.5 global", "applied-500", "drop")
    assert post(fake, channel, content="a").status_code == 500
    assert post(fake, channel, content="a").json()["retry_after"] == 0.5
    assert post(fake, channel, content="a").headers["x-ratelimit-global"] == "true"
    assert post(fake, channel, content="a").status_code == 500
    with pytest.raises(httpx.HTTPError):
        post(fake, channel, content="a")
    assert [one.status for one in fake.called(name)] == [500, 429, 429, 500, 0]
    assert fake.called(name)[0].params == {"content": "a", "ids": (channel.id,)}
    assert len(fake.messages(channel)) == 1


# --- commands


@pytest.mark.parametrize(
    ("command", "where", "code"),
    [
        ({"name": "Ask", "description": "d"}, "0.name", "APPLICATION_COMMAND_INVALID_NAME"),
        ({"name": "a b", "description": "d"}, "0.name", "APPLICATION_COMMAND_INVALID_NAME"),
        ({"name": "a" * 33, "description": "d"}, "0.name", "BASE_TYPE_BAD_LENGTH"),
        ({"name": "ask"}, "0.description", "BASE_TYPE_REQUIRED"),
        ({"name": "ask", "description": "d" * 101}, "0.description", "BASE_TYPE_BAD_LENGTH"),
        (
            {
                "name": "ask",
                "description": "d",
                "options": [
                    {"type": 3, "name": "a", "description": "d"},
                    {"type": 3, "name": "b", "description": "d", "required": True},
                ],
            },
            "0.options.1",
            "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
        ),
    ],
)
def test_commands_that_discord_refuses(fake: FakeDiscord, command: Any, where: str, code: str) -> None:
    answer = call(fake, "PUT", f"/applications/{fake.application_id}/commands", [command])
    assert wrong(answer) == (400, 50035)
    at = answer.json()["errors"]
    for part in where.split("."):
        at = at[part]
    assert at["_errors"][0]["code"] == code


def test_commands(fake: FakeDiscord, channel: Channel) -> None:
    path = f"/applications/{fake.application_id}/commands"
    ask = {"name": "ask", "description": "d"}
    (first,) = call(fake, "PUT", path, [ask]).json()
    both = call(fake, "PUT", path, [ask, {"name": "löschen", "description": "d"}]).json()
    assert [one["name"] for one in both] == ["ask", "löschen"]
    assert both[0]["id"] == first["id"]
    assert wrong(call(fake, "PUT", path, [ask, ask])) == (400, 50035)
    assert wrong(call(fake, "PUT", "/applications/1/commands", [])) == (403, 20012)
    guild = channel.guild
    assert guild is not None
    local = call(fake, "PUT", f"/applications/{fake.application_id}/guilds/{guild.id}/commands", [ask]).json()
    assert local[0]["guild_id"] == guild.id
    with pytest.raises(LookupError):
        fake.interact(None, fake.person("Ann"), channel, "unknown")


# --- interactions

Do = Callable[[dict[str, Any]], tuple[int, Any]]


@contextmanager
def app(fake: FakeDiscord, do: Do) -> Iterator[str]:
    """An application's endpoint, which checks signatures."""
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(fake.public_key))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            at, signature = self.headers["X-Signature-Timestamp"] or "", self.headers["X-Signature-Ed25519"] or ""
            try:
                key.verify(bytes.fromhex(signature), at.encode() + raw)
                status, body = do(json.loads(raw))
            except InvalidSignature:
                status, body = 401, "invalid request signature"
            said = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def test_pings_are_signed(fake: FakeDiscord) -> None:
    with app(fake, lambda got: (200, {"type": got["type"]})) as url:
        good = fake.ping(url)
        assert (good.status, good.body, good.in_time) == (200, {"type": 1}, True)
        assert fake.ping(url, signature="00" * 64).status == 401
        assert fake.ping(url, signature="").status == 401
    assert fake.ping("http://127.0.0.1:9/").status == 0


def test_a_command_is_answered_at_once(fake: FakeDiscord, channel: Channel) -> None:
    got: list[Any] = []
    ann = fake.person("Ann")

    def do(body: Any) -> tuple[int, Any]:
        got.append(body)
        return 200, {"type": 4, "data": {"content": f"hi {ann.mention} @everyone", "components": [row(BUTTON)]}}

    with app(fake, do) as url:
        result = fake.interact(url, ann, channel, "ask", {"text": "why", "often": 2})
    assert (result.status, result.in_time) == (200, True)
    (message,) = fake.messages(channel)
    assert result.message is message
    assert (message.kind, message.mentions, message.mention_everyone) == (20, [ann], False)
    assert got[0]["data"]["options"] == [
        {"name": "text", "type": 3, "value": "why"},
        {"name": "often", "type": 4, "value": 2},
    ]
    assert (got[0]["member"]["user"]["id"], got[0]["version"], got[0]["context"]) == (ann.id, 1, 0)
    assert [(one.type, one.how) for one in fake.interaction_answers] == [(4, "http")]
    # In a DM there is a user instead of a member.
    with app(fake, do) as url:
        fake.interact(url, ann, fake.dm_with(ann), "ask")
    assert (got[1]["user"]["id"], "member" in got[1], got[1]["context"]) == (ann.id, False, 1)


def webhook(fake: FakeDiscord, token: str, rest: str = "/messages/@original") -> str:
    return f"/webhooks/{fake.application_id}/{token}{rest}"


def test_a_deferred_answer_and_what_follows(fake: FakeDiscord, channel: Channel) -> None:
    with app(fake, lambda _: (200, {"type": 5})) as url:
        result = fake.interact(url, fake.person("Ann"), channel, "ask")
    assert result.interaction is not None
    assert result.message is not None
    assert result.message.loading
    token = result.interaction.token
    bare = {"headers": {"Authorization": ""}}
    edited = call(fake, "PATCH", webhook(fake, token), {"content": "done"}, **bare).json()
    assert (edited["content"], edited["flags"]) == ("done", 0)
    assert call(fake, "GET", webhook(fake, token), **bare).json() == edited
    later = call(fake, "POST", webhook(fake, token, ""), {"content": "more", "flags": 64}, **bare).json()
    assert (later["type"], later["message_reference"]["message_id"]) == (19, result.message.id)
    assert [(one.content, one.ephemeral) for one in fake.messages(channel)] == [("done", False), ("more", True)]
    assert len(call(fake, "GET", f"/channels/{channel.id}/messages").json()) == 1
    assert wrong(call(fake, "PATCH", webhook(fake, token), {"content": ""}, **bare)) == (400, 50006)
    assert wrong(call(fake, "PATCH", webhook(fake, token), {"content": "a" * 2001}, **bare)) == (400, 50035)
    assert wrong(call(fake, "PATCH", webhook(fake, "other"), {"content": "a"}, **bare)) == (401, 50027)
    fake.token_seconds = 0
    assert wrong(call(fake, "PATCH", webhook(fake, token), {"content": "late"}, **bare)) == (401, 50027)


def test_callbacks(fake: FakeDiscord, channel: Channel) -> None:
    ann = fake.person("Ann")
    asked = fake.interact(None, ann, channel, "ask").interaction
    assert asked is not None
    path = f"/interactions/{asked.id}/{asked.token}/callback"
    assert wrong(call(fake, "GET", webhook(fake, asked.token))) == (404, 10015)
    assert wrong(call(fake, "POST", path, {"type": 99})) == (400, 50035)
    assert wrong(call(fake, "POST", path, {"type": 1})) == (400, 50035)
    assert wrong(call(fake, "POST", path, {"type": 7, "data": {"content": "a"}})) == (400, 50035)
    assert wrong(call(fake, "POST", path, {"type": 4, "data": {}})) == (400, 50006)
    made = call(fake, "POST", f"{path}?with_response=true", {"type": 4, "data": {"content": "a"}}).json()
    assert made["resource"]["message"]["content"] == "a"
    assert wrong(call(fake, "POST", path, {"type": 4, "data": {"content": "b"}})) == (400, 40060)
    assert wrong(call(fake, "POST", f"/interactions/1/{asked.token}/callback", {"type": 5})) == (404, 10062)
    fake.answer_seconds = 0
    late = fake.interact(None, ann, channel, "ask").interaction
    assert late is not None
    assert wrong(call(fake, "POST", f"/interactions/{late.id}/{late.token}/callback", {"type": 5})) == (404, 10062)
    assert late.failed


def test_buttons(fake: FakeDiscord, channel: Channel) -> None:
    ann = fake.person("Ann")
    post(fake, channel, content="sure?", components=[row(BUTTON, {**BUTTON, "custom_id": "no", "disabled": True})])
    (message,) = fake.messages(channel)
    for custom_id in ("no", "other"):
        with pytest.raises(LookupError):
            fake.press(None, ann, message, custom_id)
    with app(
        fake, lambda got: (200, {"type": 7, "data": {"content": got["data"]["custom_id"], "components": []}})
    ) as url:
        fake.interactions_url = url
        result = fake.press(None, ann, message, "yes")
    assert result.message is message
    assert (message.content, message.components) == ("yes", [])
    assert message.edited


def test_an_answer_that_is_late_or_wrong_is_none(fake: FakeDiscord, channel: Channel) -> None:
    ann = fake.person("Ann")
    fake.answer_seconds = 0.2

    def slow(_: Any) -> tuple[int, Any]:
        time.sleep(0.4)  # longer than the fake allows
        return 200, {"type": 4, "data": {"content": "late"}}

    with app(fake, slow) as url:
        result = fake.interact(url, ann, channel, "ask")
    assert (result.status, result.in_time, result.message) == (200, False, None)
    assert result.interaction is not None
    assert result.interaction.failed
    fake.answer_seconds = 3
    with app(fake, lambda _: (200, {"type": 6})) as url:
        assert fake.interact(url, ann, channel, "ask").message is None
    assert "is not one" in fake.problems.pop()
    assert fake.messages(channel) == []


def test_a_callback_while_the_request_is_open(fake: FakeDiscord, channel: Channel) -> None:
    def do(got: Any) -> tuple[int, Any]:
        path = f"/interactions/{got['id']}/{got['token']}/callback"
        return 202 if call(fake, "POST", path, {"type": 4, "data": {"content": "a"}}).status_code == 204 else 500, None

    with app(fake, do) as url:
        result = fake.interact(url, fake.person("Ann"), channel, "ask")
    assert result.status == 202
    assert result.interaction is not None
    assert (result.interaction.answered, result.interaction.failed) == (4, False)


# --- the gateway


class Client:
    """A client of the gateway that does only what it is told."""

    def __init__(self, fake: FakeDiscord, url: str = "", query: str = "v=10&encoding=json") -> None:
        self.fake = fake
        self.socket: ClientConnection = connect(f"{url or fake.gateway.url}/?{query}", legacy=True)
        self.seq: int | None = None
        self.ready: dict[str, Any] = {}

    def send(self, op: int, data: Any) -> None:
        self.socket.send(json.dumps({"op": op, "d": data}))

    def next(self) -> dict[str, Any]:
        got: dict[str, Any] = json.loads(self.socket.recv(timeout=5))
        self.seq = got["s"] or self.seq
        return got

    def until(self, name: str) -> dict[str, Any]:
        while (got := self.next())["t"] != name:
            pass
        data: dict[str, Any] = got["d"]
        return data

    def identify(self, intents: int = ALL, **more: Any) -> Client:
        assert self.next()["op"] == 10
        properties = {"os": "linux", "browser": "test", "device": "test"}
        self.send(2, {"token": self.fake.token, "intents": intents, "properties": properties, **more})
        self.ready = self.until("READY")
        return self

    def resume(self, before: Client, **more: Any) -> Client:
        assert self.next()["op"] == 10
        given = {"token": self.fake.token, "session_id": before.ready["session_id"], "seq": before.seq}
        self.send(6, {**given, **more})
        self.ready = before.ready
        return self

    def closed(self) -> int | None:
        """With which code; None: without one."""
        try:
            while True:
                self.socket.recv(timeout=5)
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else None


def resumed(fake: FakeDiscord, before: Client, **more: Any) -> Client:
    return Client(fake, before.ready["resume_gateway_url"]).resume(before, **more)


def test_the_gateway_tells_what_happens(fake: FakeDiscord, channel: Channel) -> None:
    found = call(fake, "GET", "/gateway/bot").json()
    client = Client(fake, found["url"]).identify()
    assert client.ready["user"]["id"] == fake.bot.id
    assert client.ready["guilds"] == [{"id": channel.guild.id if channel.guild else "", "unavailable": True}]
    guild = client.until("GUILD_CREATE")
    assert [one["id"] for one in guild["channels"]] == [channel.id]
    client.send(1, client.seq)
    assert client.next()["op"] == 11
    assert channel.guild is not None
    role = fake.role(channel.guild, "admins")
    ann = fake.person("Ann", roles=[role])
    first = fake.say(channel, ann, f"{fake.bot.mention} {role.id}", attachments=[("a.txt", b"a")])
    told = client.until("MESSAGE_CREATE")
    assert (told["id"], told["member"]["roles"], told["guild_id"]) == (first.id, [role.id], channel.guild.id)
    assert [one["id"] for one in told["mentions"]] == [fake.bot.id]
    assert told["attachments"][0]["filename"] == "a.txt"
    fake.say(channel, fake.person("Hook", bot=True), "beep", reply_to=first, webhook=True)
    told = client.until("MESSAGE_CREATE")
    assert told["author"]["bot"]
    assert told["webhook_id"]
    assert "member" not in told
    assert told["referenced_message"]["id"] == first.id
    fake.edit(first, "changed")
    assert client.until("MESSAGE_UPDATE")["content"] == "changed"
    fake.thread(first, ann, "talk")
    assert client.until("THREAD_CREATE")["id"] == first.id
    asked = fake.interact(None, ann, channel, "ask").interaction
    assert asked is not None
    assert client.until("INTERACTION_CREATE")["token"] == asked.token
    post(fake, channel, content="mine", nonce="n1")
    told = client.until("MESSAGE_CREATE")
    assert (told["author"]["id"], told["nonce"]) == (fake.bot.id, "n1")
    fake.react(first, ann, "👍")
    assert client.until("MESSAGE_REACTION_ADD")["emoji"]["name"] == "👍"
    fake.delete(first)
    assert client.until("MESSAGE_DELETE")["id"] == first.id
    assert call(fake, "GET", "/gateway/bot").json()["session_start_limit"]["remaining"] == 999


def test_content_is_for_who_may_read_it(fake: FakeDiscord, channel: Channel) -> None:
    client = Client(fake).identify(BASIC)
    ann = fake.person("Ann")
    fake.say(channel, ann, "secret", attachments=[("a.txt", b"a")])
    told = client.until("MESSAGE_CREATE")
    assert (told["content"], told["attachments"]) == ("", [])
    fake.say(channel, ann, f"{fake.bot.mention} hello")
    assert client.until("MESSAGE_CREATE")["content"] == f"{fake.bot.mention} hello"
    fake.say(fake.dm_with(ann), ann, "private")
    told = client.until("MESSAGE_CREATE")
    assert (told["content"], "guild_id" in told) == ("private", False)
    # Over HTTP it is the application's setting that counts.
    path = f"/channels/{channel.id}/messages"
    assert call(fake, "GET", path).json()[-1]["content"] == "secret"
    fake.privileged = 0
    assert call(fake, "GET", path).json()[-1]["content"] == ""


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"token": "no"}, 4004),
        ({"intents": 1 << 30}, 4013),
        ({"intents": None}, 4013),
        ({"intents": 1 << 8}, 4014),
        ({"shard": [1, 1]}, 4010),
        ({"properties": None}, 4002),
        ({"presence": "x" * 4096}, 4002),
    ],
)
def test_identifying_wrongly(fake: FakeDiscord, more: Any, code: int) -> None:
    fake.privileged = 1 << 15
    client = Client(fake)
    client.next()
    client.send(2, {"token": fake.token, "intents": ALL, "properties": {}, **more})
    assert client.closed() == code
    assert fake.most_sessions == 0


def test_other_close_codes(fake: FakeDiscord) -> None:
    client = Client(fake)
    client.send(3, {})
    assert client.closed() == 4003
    client = Client(fake).identify()
    client.send(2, {})
    assert client.closed() == 4005
    client = Client(fake).identify()
    client.send(99, {})
    assert client.closed() == 4001
    client = Client(fake)
    client.socket.send("{")
    assert client.closed() == 4002
    client = Client(fake)
    for _ in range(121):
        client.send(1, None)
    assert client.closed() == 4008
    assert "120 events" in fake.violations.pop()
    assert Client(fake, query="v=6&encoding=json").closed() == 4012
    assert Client(fake, query="v=10&encoding=etf").closed() == 4002
    assert len(fake.problems) == 2
    fake.problems.clear()


def test_who_does_not_beat_is_closed(fake: FakeDiscord) -> None:
    fake.gateway.heartbeat_seconds = 0.2
    client = Client(fake).identify()
    begun = time.monotonic()
    client.send(1, client.seq)
    assert client.closed() == 4009
    assert 0.35 < time.monotonic() - begun < 2
    assert fake.sessions == {}


def test_a_heartbeat_with_a_wrong_number_is_a_problem(fake: FakeDiscord) -> None:
    client = Client(fake).identify()
    fake.gateway.acks = False
    client.send(1, 77)
    client.send(99, None)
    assert client.closed() == 4001
    assert "heartbeat" in fake.problems.pop()


def test_resume_replays_what_was_missed(fake: FakeDiscord, channel: Channel) -> None:
    client = Client(fake).identify()
    client.until("GUILD_CREATE")
    ann = fake.person("Ann")
    fake.say(channel, ann, "one")
    client.until("MESSAGE_CREATE")
    fake.drop_gateway()
    assert client.closed() is None
    fake.say(channel, ann, "two")
    fake.say(channel, ann, "three")
    again = resumed(fake, client)
    events = [again.next() for _ in range(3)]
    assert [one["t"] for one in events] == ["MESSAGE_CREATE", "MESSAGE_CREATE", "RESUMED"]
    assert [one["d"].get("content") for one in events] == ["two", "three", None]
    assert [one["s"] for one in events[:2]] == [client.seq + 1, client.seq + 2] if client.seq else False
    fake.say(channel, ann, "four")
    assert again.next()["d"]["content"] == "four"
    # Another client takes the session over.
    third = resumed(fake, again)
    assert again.closed() == 4000
    assert third.next()["t"] == "RESUMED"
    assert (fake.sessions, fake.most_sessions) == ({0: 1}, 1)


def test_sessions_that_cannot_be_resumed(fake: FakeDiscord) -> None:
    client = Client(fake).identify()
    client.socket.close(1000)
    fake.wait_for(lambda: fake.sessions == {})
    assert resumed(fake, client).next() == {"op": 9, "d": False, "s": None, "t": None}
    client = Client(fake).identify()
    client.socket.close(4900)
    fake.wait_for(lambda: fake.sessions == {})
    assert resumed(fake, client).next()["t"] == "RESUMED"
    fake.expire_sessions()
    fake.drop_gateway()
    assert resumed(fake, client).next()["op"] == 9
    client = Client(fake).identify()
    fake.drop_gateway(4000)
    assert client.closed() == 4000
    fake.gateway.session_seconds = 0
    assert resumed(fake, client).next()["op"] == 9
    client = Client(fake).identify()
    assert resumed(fake, client, seq=99).closed() == 4007
    assert resumed(fake, client, token="no").closed() == 4004
    assert resumed(fake, client, session_id="1").next()["op"] == 9


def test_the_resume_url_is_for_resuming(fake: FakeDiscord) -> None:
    client = Client(fake).identify()
    fake.drop_gateway()
    assert Client(fake).resume(client).next()["t"] == "RESUMED"
    Client(fake, client.ready["resume_gateway_url"]).identify()
    assert len(fake.problems) == 2
    fake.problems.clear()


def test_commands_to_clients(fake: FakeDiscord) -> None:
    client = Client(fake).identify()
    fake.reconnect(0.1)
    assert client.next()["op"] == 7
    assert client.closed() == 4000
    client = Client(fake).identify()
    fake.invalidate(resumable=True)
    assert client.next()["d"] is True
    again = resumed(fake, client)
    assert again.next()["t"] == "RESUMED"
    fake.gateway.after_invalid_seconds = 5
    fake.invalidate()
    assert again.next()["d"] is False
    assert resumed(fake, client).next()["op"] == 9
    Client(fake).identify()
    assert "after INVALID SESSION" in fake.violations.pop()


def test_identifying_too_often(fake: FakeDiscord) -> None:
    fake.gateway.identify_seconds = 5
    Client(fake).identify()
    second = Client(fake)
    second.next()
    second.send(2, {"token": fake.token, "intents": ALL, "properties": {}})
    assert second.next()["op"] == 9
    assert "identified" in fake.violations.pop()
    fake.lenient = True
    Client(fake).identify()
    assert fake.most_sessions == 2


def test_shards(fake: FakeDiscord) -> None:
    guilds = [fake.guild(str(number)) for number in range(6)]
    clients = [Client(fake).identify(shard=[number, 2]) for number in range(2)]
    mine = [{one["id"] for one in client.ready["guilds"]} for client in clients]
    assert [{guild.id for guild in guilds if (int(guild.id) >> 22) % 2 == number} for number in range(2)] == mine
    ann = fake.person("Ann")
    fake.say(fake.dm_with(ann), ann, "to the first")
    assert clients[0].until("MESSAGE_CREATE")["content"] == "to the first"
    assert fake.sessions == {0: 1, 1: 1}
    Client(fake).identify(shard=[1, 2])
    assert fake.most_sessions == 2
