"""The fake must refuse what Slack refuses, and Slack's own clients must not see a difference."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs
from urllib.request import Request as Asked
from urllib.request import urlopen

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry import RateLimitErrorRetryHandler
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.webhook import WebhookClient
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.fakes.provider import Answer, FakeProvider, Request, serving
from tests.fakes.slack import Channel, FakeSlack, serving_slack

BUTTON = {"type": "button", "text": {"type": "plain_text", "text": "Yes"}, "action_id": "yes", "value": "1"}
DIVIDER = {"type": "divider"}


@pytest.fixture
def fake() -> Iterator[FakeSlack]:
    with serving_slack() as served:
        yield served


@pytest.fixture
def client(fake: FakeSlack) -> WebClient:
    """One that does not try again by itself, as it does by default when a connection breaks."""
    return WebClient(token=fake.bot_token, base_url=fake.base_url, retry_handlers=[], timeout=10)


@pytest.fixture
def channel(fake: FakeSlack) -> Channel:
    return fake.channel("general")


def refusal(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        call(**arguments)
    return str(caught.value.response["error"])


def fetched(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    try:
        with urlopen(Asked(url, body, dict(headers or {})), timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def api(
    fake: FakeSlack, method: str, body: bytes | None = None, kind: str = "", query: str = "", token: str | None = None
) -> dict[str, Any]:
    """A call without a client that would put things right."""
    used = fake.bot_token if token is None else token
    headers = {**({"Authorization": f"Bearer {used}"} if used else {}), **({"Content-Type": kind} if kind else {})}
    found: dict[str, Any] = json.loads(fetched(f"{fake.base_url}{method}{query}", body, headers)[2])
    return found


def section(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}, **more}


def button(**changed: Any) -> dict[str, Any]:
    return {"type": "actions", "elements": [{**BUTTON, **changed}]}


# --- who may call


def test_tokens(fake: FakeSlack, client: WebClient) -> None:
    found = client.auth_test()
    assert (found["user_id"], found["bot_id"], found["team_id"]) == (fake.bot_user, fake.bot_id, fake.team_id)
    assert "chat:write" in found.headers["X-OAuth-Scopes"].split(",")
    assert refusal(WebClient(base_url=fake.base_url).auth_test) == "not_authed"
    assert refusal(WebClient("xoxb-other", base_url=fake.base_url).auth_test) == "invalid_auth"
    assert refusal(client.apps_connections_open, app_token=fake.bot_token) == "not_allowed_token_type"
    assert refusal(client.users_list, token=fake.app_token) == "not_allowed_token_type"
    assert refusal(client.api_call, api_method="chat.sing") == "unknown_method"
    fake.auth_error = "token_revoked"
    assert refusal(client.auth_test) == "token_revoked"


def test_scopes(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    fake.scopes -= {"chat:write", "channels:history", "groups:read"}
    with pytest.raises(SlackApiError) as caught:
        client.chat_postMessage(channel=channel.id, text="hi")
    found = caught.value.response
    assert (found["error"], found["needed"]) == ("missing_scope", "chat:write")
    assert "users:read" in found["provided"]
    assert refusal(client.conversations_history, channel=channel.id) == "missing_scope"
    assert refusal(client.conversations_list, types="public_channel,private_channel") == "missing_scope"
    assert client.conversations_list()["ok"]


def test_how_arguments_may_come(fake: FakeSlack, channel: Channel) -> None:
    fake.lenient = True
    method, asked = "chat.postMessage", {"channel": channel.id, "text": "hi"}
    form = f"channel={channel.id}&text=hi"
    assert api(fake, method, query=f"?{form}")["ok"]
    assert api(fake, method, form.encode(), "application/x-www-form-urlencoded")["ok"]
    tokened = f"{form}&token={fake.bot_token}".encode()
    assert api(fake, method, tokened, "application/x-www-form-urlencoded", token="")["ok"]
    assert api(fake, method, json.dumps(asked).encode(), "application/json; charset=utf-8")["ok"]
    assert len(fake.messages(channel)) == 4
    assert fake.problems == []
    assert fake.called(method)[-1].params == asked


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"{", "application/json; charset=utf-8", "invalid_json"),
        (b"[]", "application/json; charset=utf-8", "json_not_object"),
        (b"{}", "application/json; charset=latin-7", "invalid_charset"),
        (b"{}", "application/xml", "invalid_post_type"),
        (b'{"token": "TOKEN"}', "application/json; charset=utf-8", "not_authed"),
    ],
)
def test_bodies_that_are_refused(fake: FakeSlack, body: bytes, kind: str, error: str) -> None:
    sent = body.replace(b"TOKEN", fake.bot_token.encode())
    assert api(fake, "auth.test", sent, kind, token="" if error == "not_authed" else None)["error"] == error


def test_problems(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    found = api(fake, "auth.test", b"{}", "application/json")
    assert (found["ok"], found["warning"]) == (True, "missing_charset")
    assert api(fake, "auth.test", query=f"?token={fake.bot_token}", token="")["error"] == "not_authed"
    client.chat_postMessage(channel=channel.id, text="R&D <b>", blocks=[section("a < b")])
    assert [problem.split()[0] for problem in fake.problems] == ["no", "a", "&,", "&,"]


def test_no_problems(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    text = "R&amp;D &lt;b&gt; <https://example.com/?a=1&b=2|a link> <@U0FAKE0001> <!here> <#C0FAKE0001|x>\n> a quote"
    client.chat_postMessage(channel=channel.id, text=text, blocks=[{"type": "markdown", "text": "a < b & c"}])
    assert fake.problems == []


# --- posts


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"channel": ""}, "invalid_arguments"),
        ({"channel": "C0NOWHERE1"}, "channel_not_found"),
        ({"channel": "secret"}, "channel_not_found"),
        ({"channel": "#elsewhere"}, "not_in_channel"),
        ({"channel": "old"}, "is_archived"),
        ({"text": ""}, "no_text"),
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"text": ["hi"]}, "invalid_arguments"),
        ({"thread_ts": "1700000009.000100"}, "thread_not_found"),
        ({"thread_ts": 1700000000.0001}, "invalid_thread_ts"),
        ({"blocks": "{"}, "invalid_blocks_format"),
        ({"blocks": {"type": "divider"}}, "invalid_blocks_format"),
        ({"blocks": [DIVIDER] * 51}, "invalid_blocks"),
        ({"blocks": [section("x" * 2900)] * 5}, "msg_blocks_too_long"),
        ({"blocks": [{"type": "markdown", "text": "x" * 6001}] * 2}, "msg_blocks_too_long"),
        ({"markdown_text": "*hi*"}, "markdown_text_conflict"),
        ({"text": None, "markdown_text": "x" * 12_001}, "msg_too_long"),
        ({"metadata": {"event_type": "x"}}, "invalid_metadata_format"),
        ({"metadata": "{"}, "invalid_metadata_format"),
        ({"metadata": {"event_type": "x", "event_payload": {"a": "x" * 9000}}}, "metadata_too_large"),
    ],
)
def test_posts_that_are_refused(fake: FakeSlack, client: WebClient, arguments: dict[str, Any], error: str) -> None:
    channel = fake.channel("general")
    fake.channel("secret", private=True, bot_in_it=False)
    fake.channel("elsewhere", bot_in_it=False)
    fake.channel("old").archived = True
    sent = {"channel": channel.id, "text": "hi", **arguments}
    assert refusal(client.api_call, api_method="chat.postMessage", json=sent) == error
    assert fake.messages(channel) == []


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ({"type": "poem"}, "unsupported type: poem"),
        ({"type": "section"}, "missing required field: text"),
        (section("x" * 3001), "must be less than 3001 characters [json-pointer:/blocks/0/text/text]"),
        (section(""), "must be more than 0 characters"),
        (section(color="red"), "invalid additional property: color"),
        (section(block_id="x" * 256), "must be less than 256 characters"),
        ({"type": "section", "text": "hi"}, "must provide an object"),
        ({"type": "section", "fields": [section()["text"]] * 11}, "no more than 10 items allowed"),
        ({"type": "section", "fields": [section("x" * 2001)["text"]]}, "must be less than 2001 characters"),
        (section(accessory={**BUTTON, "value": "x" * 2001}), "must be less than 2001 characters"),
        ({"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}, "must be less than 151 characters"),
        ({"type": "header", "text": {"type": "mrkdwn", "text": "x"}}, "unsupported type: mrkdwn"),
        ({"type": "context", "elements": [section()["text"]] * 11}, "no more than 10 items allowed"),
        ({"type": "context", "elements": [{"type": "image", "image_url": "https://x"}]}, "must be a string"),
        ({"type": "markdown", "text": ""}, "must be more than 0 characters"),
        ({"type": "actions", "elements": []}, "at least 1 item"),
        ({"type": "actions", "elements": [{"type": "lever"}]}, "unsupported type"),
        ({"type": "actions", "elements": [BUTTON, BUTTON]}, "`action_id` already exists"),
        ({"type": "actions", "elements": [{**BUTTON, "action_id": str(n)} for n in range(26)]}, "no more than 25"),
        (button(text={"type": "plain_text", "text": "x" * 76}), "must be less than 76 characters"),
        (button(text={"type": "mrkdwn", "text": "x"}), "unsupported type: mrkdwn"),
        (button(action_id="x" * 256), "must be less than 256 characters"),
        (button(value="x" * 2001), "must be less than 2001 characters"),
        (button(style="blue"), "must be one of"),
        (button(disabled=True), "invalid additional property: disabled"),
        (button(confirm={"title": {"type": "plain_text", "text": "x" * 101}}), "must be less than 101 characters"),
    ],
)
def test_blocks_that_are_refused(client: WebClient, channel: Channel, block: dict[str, Any], reason: str) -> None:
    with pytest.raises(SlackApiError) as caught:
        client.chat_postMessage(channel=channel.id, text="hi", blocks=[block])
    assert caught.value.response["error"] == "invalid_blocks"
    assert reason in caught.value.response["response_metadata"]["messages"][0]


def test_blocks_that_are_taken(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    same = [section(block_id="one"), section(block_id="one")]
    assert refusal(client.chat_postMessage, channel=channel.id, text="hi", blocks=same) == "invalid_blocks"
    confirm = {
        name: {"type": "plain_text", "text": name, "emoji": True} for name in ("title", "text", "confirm", "deny")
    }
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "x" * 150}},
        section("x" * 3000, block_id="named", accessory={**BUTTON, "url": "https://example.com"}),
        {"type": "section", "fields": [section()["text"]] * 10},
        DIVIDER,
        {"type": "context", "elements": [{"type": "image", "image_url": "https://x", "alt_text": "x"}]},
        {"type": "actions", "elements": [BUTTON, {**BUTTON, "action_id": "no", "style": "danger", "confirm": confirm}]},
        {"type": "actions", "elements": [BUTTON]},
        {"type": "markdown", "text": "**hi**"},
    ]
    client.chat_postMessage(channel=channel.id, text="hi", blocks=blocks)
    ids = [block["block_id"] for block in fake.messages(channel)[-1].blocks]
    assert ids[1] == "named"
    assert len(set(ids)) == 8


def test_update_and_delete(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    theirs = fake.say(channel, fake.person("ann"), "mine")
    metadata = {"event_type": "run", "event_payload": {"id": "1"}}
    ts = client.chat_postMessage(channel=channel.id, text="hi", blocks=[section()], metadata=metadata)["ts"]
    mine = fake.messages(channel)[-1]
    at = {"channel": channel.id, "ts": ts}
    assert refusal(client.chat_update, **{**at, "ts": "1700000009.000100"}, text="x") == "message_not_found"
    assert refusal(client.chat_update, **{**at, "ts": theirs.ts}, text="x") == "cant_update_message"
    assert refusal(client.chat_update, **at, text="x" * 4001) == "msg_too_long"
    assert refusal(client.api_call, api_method="chat.update", json=at) == "no_text"
    assert not mine.edited
    client.chat_update(**at, text="there", blocks=[section("there")])
    assert (mine.text, mine.blocks[0]["text"]["text"], mine.metadata) == ("there", "there", metadata)
    found = client.chat_update(**at, text="only text", metadata={})
    assert (mine.blocks, mine.metadata, mine.edited) == ([], None, True)
    assert found["message"]["edited"]["user"] == fake.bot_user
    assert refusal(client.chat_delete, channel=channel.id, ts=theirs.ts) == "cant_delete_message"
    client.chat_delete(**at)
    assert refusal(client.chat_delete, **at) == "message_not_found"
    assert fake.messages(channel) == [theirs]
    channel.archived = True
    assert refusal(client.chat_update, **at, text="x") == "is_inactive"


def test_a_thread_outlives_its_first_message(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    ts = client.chat_postMessage(channel=channel.id, text="root")["ts"]
    fake.say(channel, fake.person("ann"), "reply", thread_ts=ts)
    client.chat_delete(channel=channel.id, ts=ts)
    assert [message.subtype for message in fake.messages(channel)] == ["tombstone", None]


def test_posts_to_a_person_and_by_name(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    ann = fake.person("ann")
    direct = client.chat_postMessage(channel=ann.id, text="hi")["channel"]
    assert direct.startswith("D")
    assert client.chat_postMessage(channel=ann.id, text="again")["channel"] == direct
    assert client.chat_postMessage(channel="#general", text="hi")["channel"] == channel.id
    assert refusal(client.chat_update, channel=ann.id, ts="1700000000.000100", text="x") == "channel_not_found"


def test_rate_limit(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    other = fake.channel("other")
    for number in range(3):
        client.chat_postMessage(channel=channel.id, text=str(number))
    with pytest.raises(SlackApiError) as caught:
        client.chat_postMessage(channel=channel.id, text="too early")
    assert (caught.value.response.status_code, caught.value.response["error"]) == (429, "ratelimited")
    assert 1 <= int(caught.value.response.headers["Retry-After"]) <= 2
    assert len(fake.violations) == 1
    client.chat_postMessage(channel=other.id, text="another channel's is its own")
    patient = WebClient(fake.bot_token, fake.base_url, retry_handlers=[RateLimitErrorRetryHandler()])
    patient.chat_postMessage(channel=channel.id, text="in time")
    assert [message.text for message in fake.messages(channel)] == ["0", "1", "2", "in time"]
    fake.lenient = True
    for number in range(5):
        client.chat_postMessage(channel=channel.id, text=str(number))
    assert len(fake.violations) == 2


def test_plans(fake: FakeSlack, channel: Channel, client: WebClient) -> None:
    fake.plan("chat.postMessage", "drop", "applied-drop", "500", "429 7", "slow 0.2", "ok")
    for text in ("dropped", "applied"):
        with pytest.raises(OSError):  # noqa: PT011 (each way a connection can break)
            client.chat_postMessage(channel=channel.id, text=text)
    with pytest.raises(SlackApiError):
        client.chat_postMessage(channel=channel.id, text="500")
    with pytest.raises(SlackApiError) as caught:
        client.chat_postMessage(channel=channel.id, text="429")
    assert caught.value.response.headers["Retry-After"] == "7"
    begun = time.monotonic()
    client.chat_postMessage(channel=channel.id, text="slow")
    assert time.monotonic() - begun >= 0.2
    assert [message.text for message in fake.messages(channel)] == ["applied", "slow"]
    assert [call.status for call in fake.called("chat.postMessage")] == [0, 0, 500, 429, 200]
    assert fake.violations == []


def test_a_client_by_default_posts_again_when_the_answer_is_lost(fake: FakeSlack, channel: Channel) -> None:
    """So that nobody takes `WebClient` as it comes for exactly once."""
    fake.plan("chat.postMessage", "applied-drop")
    WebClient(fake.bot_token, fake.base_url).chat_postMessage(channel=channel.id, text="hi")
    assert len(fake.messages(channel)) == 2


# --- what is read


def test_history(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    ann = fake.person("ann")
    ts = [fake.say(channel, ann, str(number)).ts for number in range(5)]
    fake.say(channel, ann, "reply", thread_ts=ts[0])
    client.chat_postMessage(channel=channel.id, text="for all", thread_ts=ts[0], reply_broadcast=True)

    def texts(**arguments: Any) -> list[str]:
        found = client.conversations_history(channel=channel.id, **arguments)
        return [message["text"] for message in found["messages"]]

    assert texts() == ["for all", "4", "3", "2", "1", "0"]
    assert texts(oldest=ts[1], latest=ts[3]) == ["2"]
    assert texts(oldest=ts[1], latest=ts[3], inclusive=True) == ["3", "2", "1"]
    pages = [page.data for page in client.conversations_history(channel=channel.id, limit=4)]
    assert [len(page["messages"]) for page in pages] == [4, 2]
    assert [page["has_more"] for page in pages] == [True, False]
    assert "response_metadata" not in pages[1]
    root = pages[1]["messages"][-1]
    assert (root["reply_count"], root["latest_reply"]) == (2, fake.messages(channel)[-1].ts)
    assert refusal(client.conversations_history, channel=channel.id, cursor="?") == "invalid_cursor"
    assert refusal(client.conversations_history, channel=channel.id, limit=-1) == "invalid_limit"
    assert refusal(client.conversations_history, channel=channel.id, oldest="long ago") == "invalid_ts_oldest"
    assert refusal(client.conversations_history, channel=channel.id, latest="now") == "invalid_ts_latest"
    outside = fake.channel("elsewhere", bot_in_it=False)
    assert refusal(client.conversations_history, channel=outside.id) == "not_in_channel"


def test_replies(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    ann = fake.person("ann")
    root = fake.say(channel, ann, "root")
    fake.say(channel, ann, "not in it")
    replies = [fake.say(channel, ann, str(number), thread_ts=root.ts) for number in range(3)]

    def texts(ts: str, **arguments: Any) -> list[str]:
        found = client.conversations_replies(channel=channel.id, ts=ts, **arguments)
        return [message["text"] for message in found["messages"]]

    assert texts(root.ts) == texts(replies[1].ts) == ["root", "0", "1", "2"]
    assert texts(root.ts, oldest=replies[0].ts) == ["root", "1", "2"]
    pages = [page["messages"] for page in client.conversations_replies(channel=channel.id, ts=root.ts, limit=3)]
    assert [len(page) for page in pages] == [3, 1]
    assert pages[1][0]["parent_user_id"] == ann.id
    unknown = {"channel": channel.id, "ts": "1700000009.000100"}
    assert refusal(client.conversations_replies, **unknown) == "thread_not_found"


def test_a_reply_to_a_reply_is_a_problem(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    root = fake.say(channel, fake.person("ann"), "root")
    reply = client.chat_postMessage(channel=channel.id, text="reply", thread_ts=root.ts)["ts"]
    client.chat_postMessage(channel=channel.id, text="reply to it", thread_ts=reply)
    assert fake.messages(channel)[-1].thread_ts == root.ts
    assert fake.problems == [f"thread_ts {reply} is a reply's, not its thread's"]


def test_metadata_is_only_for_those_who_ask(client: WebClient, channel: Channel) -> None:
    metadata = {"event_type": "run", "event_payload": {"id": "1"}}
    ts = client.chat_postMessage(channel=channel.id, text="hi", metadata=metadata)["ts"]
    for method, more in ((client.conversations_history, {}), (client.conversations_replies, {"ts": ts})):
        assert "metadata" not in method(channel=channel.id, **more)["messages"][0]
        found = method(channel=channel.id, include_all_metadata=True, **more)
        assert found["messages"][0]["metadata"] == metadata


def test_channels(fake: FakeSlack, client: WebClient) -> None:
    ann = fake.person("ann")
    public = [fake.channel(f"c{number}", bot_in_it=number > 0) for number in range(3)]
    private, hidden = fake.channel("p", private=True), fake.channel("q", private=True, bot_in_it=False)
    direct, several = fake.channel("", kind="im", members=[ann]), fake.channel("mpdm", kind="mpim", members=[ann])
    assert [found.id[0] for found in (public[0], private, direct, several)] == ["C", "G", "D", "G"]

    def ids(**arguments: Any) -> list[str]:
        return [one["id"] for page in client.conversations_list(**arguments) for one in page["channels"]]

    assert ids(limit=2) == [one.id for one in public]
    assert ids(types="private_channel,im,mpim") == [private.id, direct.id, several.id]
    public[1].archived = True
    assert ids(exclude_archived=True) == [public[0].id, public[2].id]
    assert refusal(client.conversations_list, types="secret_channel") == "invalid_types"
    assert refusal(client.conversations_info, channel=hidden.id) == "channel_not_found"
    assert client.conversations_info(channel=direct.id)["channel"]["user"] == ann.id
    assert not client.conversations_info(channel=public[0].id)["channel"]["is_member"]


def test_people(fake: FakeSlack, client: WebClient) -> None:
    ann, bob, robot = fake.person("ann"), fake.person("bob", enterprise=True), fake.person("robot", bot=True)
    assert (ann.id[0], bob.id[0], robot.bot_id[0]) == ("U", "W", "B")
    found = [one["id"] for page in client.users_list(limit=3) for one in page["members"]]
    assert found == [fake.bot_user, ann.id, bob.id, robot.id]
    assert client.users_info(user=robot.id)["user"]["is_bot"]
    assert refusal(client.users_info, user="U0NOBODY01") == "user_not_found"
    group = fake.group("on-call", [ann, bob])
    assert client.usergroups_list()["usergroups"][0]["handle"] == "on-call"
    assert "users" not in client.usergroups_list()["usergroups"][0]
    assert client.usergroups_list(include_users=True)["usergroups"][0]["users"] == [ann.id, bob.id]
    assert client.usergroups_users_list(usergroup=group.id)["users"] == [ann.id, bob.id]
    assert refusal(client.usergroups_users_list, usergroup="S0NOWHERE1") == "no_such_subteam"


def test_reactions(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    message = fake.say(channel, fake.person("ann"), "hi")
    at = {"channel": channel.id, "timestamp": message.ts}
    client.reactions_add(**at, name="eyes")
    assert refusal(client.reactions_add, **at, name="eyes") == "already_reacted"
    assert message.reactions == {"eyes": [fake.bot_user]}
    assert client.conversations_history(channel=channel.id)["messages"][0]["reactions"][0]["count"] == 1
    client.reactions_remove(**at, name="eyes")
    assert message.reactions == {}
    assert refusal(client.reactions_remove, **at, name="eyes") == "no_reaction"
    assert refusal(client.reactions_add, **at, name=":eyes:") == "invalid_name"
    unknown = {**at, "timestamp": "1700000009.000100"}
    assert refusal(client.reactions_add, **unknown, name="eyes") == "message_not_found"
    assert refusal(client.reactions_add, **{**at, "timestamp": "1"}, name="eyes") == "bad_timestamp"
    assert refusal(client.reactions_add, name="eyes", channel=channel.id, timestamp="") == "no_item_specified"


# --- files


def test_upload_and_download(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    root, content = fake.say(channel, fake.person("ann"), "files?"), bytes(range(256)) * 20
    where = {"channel": channel.id, "thread_ts": root.ts, "initial_comment": "two of them"}
    uploads = [{"content": content, "filename": "a.png", "title": "A"}, {"content": "b", "filename": "b.txt"}]
    done = client.files_upload_v2(file_uploads=uploads, **where)
    message = fake.messages(channel)[-1]
    assert (message.text, message.thread_ts, message.subtype) == ("two of them", root.ts, "file_share")
    assert [file.content for file in message.files] == [content, b"b"]
    assert message.files == fake.files
    assert done["files"][0] == {"id": fake.files[0].id, "title": "A"}
    found = client.files_info(file=fake.files[0].id)["file"]
    assert (found["mimetype"], found["size"], found["channels"]) == ("image/png", len(content), [channel.id])
    authorized = {"Authorization": f"Bearer {fake.bot_token}"}
    assert fetched(found["url_private"], headers=authorized)[2] == content
    assert fetched(found["url_private_download"], headers=authorized)[2] == content
    for headers in ({}, {"Authorization": "Bearer xoxb-other"}):
        status, shown, page = fetched(found["url_private"], headers=headers)
        assert (status, shown["Content-Type"].split(";")[0]) == (200, "text/html")
        assert b"Sign in" in page
    gone = found["url_private"].replace(found["id"], "F0NOWHERE1")
    assert fetched(gone, headers=authorized)[0] == 404


def test_uploads_that_are_refused(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    assert refusal(client.files_getUploadURLExternal, filename="a.txt", length=0) == "missing_argument"
    begun = client.files_getUploadURLExternal(filename="a.txt", length=3)
    done = {"files": [{"id": begun["file_id"]}], "channel_id": channel.id}
    assert refusal(client.files_completeUploadExternal, **done) == "file_not_found"
    assert fetched(begun["upload_url"], b"four")[0] == 400
    form = b'--x\r\nContent-Disposition: form-data; filename="a.txt"\r\n\r\none\r\n--x--\r\n'
    assert fetched(begun["upload_url"], form, {"Content-Type": "multipart/form-data; boundary=x"})[0] == 200
    assert fetched(begun["upload_url"], b"one")[0] == 404
    elsewhere = fake.channel("elsewhere", bot_in_it=False).id
    assert refusal(client.files_completeUploadExternal, **{**done, "channel_id": elsewhere}) == "not_in_channel"
    assert fake.files == []
    client.files_completeUploadExternal(**done)
    assert [file.content for file in fake.files] == [b"one"]
    assert refusal(client.files_completeUploadExternal, **done) == "file_not_found"
    assert refusal(client.files_info, file="F0NOWHERE1") == "file_not_found"
    assert len(fake.problems) == 1


# --- what is told to the app


class App(FakeProvider):
    """An app's endpoint that believes only what is signed."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.verifier = SignatureVerifier(secret)
        self.got: list[Request] = []
        self.no_retry = False

    def name_of(self, request: Request) -> str:
        return "post"

    def params_of(self, request: Request) -> Mapping[str, Any]:
        return {}

    def answer(self, name: str, request: Request) -> Answer:
        if not self.verifier.is_valid_request(request.body, dict(request.headers)):
            return Answer(401, {}, {"X-Slack-No-Retry": "1"} if self.no_retry else {})
        self.got.append(request)
        if request.headers["content-type"] == "application/json":
            return Answer(200, {"challenge": json.loads(request.body).get("challenge")})
        return Answer(200, {})


@pytest.fixture
def app(fake: FakeSlack) -> Iterator[App]:
    with serving(App(fake.signing_secret)) as served:
        yield served


def test_events_of_a_post(fake: FakeSlack, channel: Channel, client: WebClient) -> None:
    ann, robot = fake.person("ann"), fake.person("robot", bot=True)
    plain, mention = fake.say(channel, ann, "hi"), fake.say(channel, ann, f"<@{fake.bot_user}> hi")
    assert [found["event"]["type"] for found in fake.events_of(plain)] == ["message"]
    message, mentioned = fake.events_of(mention)
    assert mentioned["event"]["type"] == "app_mention"
    assert "channel_type" not in mentioned["event"]
    assert message["event"]["channel_type"] == "channel"
    assert message["event_id"] != mentioned["event_id"]
    assert message["event"]["client_msg_id"] == mentioned["event"]["client_msg_id"]
    assert message["authorizations"][0]["user_id"] == fake.bot_user
    assert (message["type"], message["api_app_id"]) == ("event_callback", fake.app_id)
    assert message["event"]["blocks"][0]["elements"][0]["elements"][0]["user_id"] == fake.bot_user
    direct, group = fake.channel("", kind="im", members=[ann]), fake.channel("p", private=True)
    (only,) = fake.events_of(fake.say(direct, ann, f"<@{fake.bot_user}> hi"))
    assert only["event"]["channel_type"] == "im"
    assert fake.events_of(fake.say(group, ann, "hi"))[0]["event"]["channel_type"] == "group"
    assert fake.events_of(fake.say(fake.channel("elsewhere", bot_in_it=False), ann, "hi")) == []
    posted = fake.events_of(fake.say(channel, robot, "beep"))[0]["event"]
    assert posted["bot_id"] == robot.bot_id
    assert "client_msg_id" not in posted
    shared = fake.events_of(fake.say(channel, ann, "look", files=[fake.file("a.txt", b"a", ann)]))[0]["event"]
    assert (shared["subtype"], shared["files"][0]["name"]) == ("file_share", "a.txt")
    client.chat_postMessage(channel=channel.id, text=f"<@{fake.bot_user}>")
    (own,) = fake.events_of(fake.messages(channel)[-1])
    assert (own["event"]["bot_id"], own["event"]["app_id"]) == (fake.bot_id, fake.app_id)
    assert fake.react(plain, ann, "eyes")["event"]["item"]["ts"] == plain.ts


def test_signatures(fake: FakeSlack, channel: Channel, app: App) -> None:
    (envelope,) = fake.events_of(fake.say(channel, fake.person("ann"), "ünïcode"))
    assert fake.url_verification(app.origin)
    result = fake.post_event(app.origin, envelope)
    assert (result.status, result.in_time) == (200, True)
    assert json.loads(app.got[-1].body) == envelope
    assert fake.post_event(app.origin, envelope, signature="v0=00").status == 401
    assert fake.post_event(app.origin, envelope, timestamp=int(time.time()) - 400).status == 401
    command = fake.slash(channel, fake.person("bob"), "what & why?")
    assert fake.post_form(app.origin, command).status == 200
    assert parse_qs(app.got[-1].body.decode())["text"] == ["what & why?"]
    assert fake.post_form(app.origin, command, signature="v0=00").status == 401


def test_redelivery(fake: FakeSlack, channel: Channel, app: App) -> None:
    fake.patience = 0.3
    (envelope,) = fake.events_of(fake.say(channel, fake.person("ann"), "hi"))
    app.plan("post", "500", "slow 1", "drop")
    results = fake.deliver(app.origin, envelope)
    assert [(result.status, result.why) for result in results] == [
        (500, ""),
        (0, "http_timeout"),
        (0, "connection_failed"),
        (200, ""),
    ]
    # The slow one was taken all the same: an app sees such an event twice.
    retries = [(got.headers["x-slack-retry-num"], got.headers["x-slack-retry-reason"]) for got in app.got]
    assert retries == [("1", "http_error"), ("3", "connection_failed")]
    app.plan("post", *["500"] * 9)
    assert len(fake.deliver(app.origin, envelope)) == 4


def test_no_redelivery_where_the_app_says_so(fake: FakeSlack, channel: Channel, app: App) -> None:
    app.no_retry = True
    app.verifier = SignatureVerifier("another secret")
    (envelope,) = fake.events_of(fake.say(channel, fake.person("ann"), "hi"))
    assert [result.status for result in fake.deliver(app.origin, envelope)] == [401]
    app.no_retry = False
    assert len(fake.deliver(app.origin, envelope)) == 4


def test_slow_answers_are_not_in_time(fake: FakeSlack, channel: Channel, app: App) -> None:
    fake.patience = 0.2
    app.plan("post", "slow 0.4")
    (envelope,) = fake.events_of(fake.say(channel, fake.person("ann"), "hi"))
    result = fake.post_event(app.origin, envelope)
    assert (result.status, result.in_time) == (200, False)


def test_clicks_and_their_answers(fake: FakeSlack, client: WebClient, channel: Channel, app: App) -> None:
    ann = fake.person("ann")
    client.chat_postMessage(channel=channel.id, text="sure?", blocks=[button()])
    message = fake.messages(channel)[-1]
    with pytest.raises(AssertionError):
        fake.click(ann, message, "no")
    payload = fake.click(ann, message, "yes", "1")
    assert fake.post_interaction(app.origin, payload).status == 200
    assert json.loads(parse_qs(app.got[-1].body.decode())["payload"][0]) == payload
    assert payload["actions"][0]["block_id"] == message.blocks[0]["block_id"]
    assert (payload["container"]["message_ts"], payload["user"]["id"]) == (message.ts, ann.id)
    hook = WebhookClient(payload["response_url"])
    assert hook.send(text="done", blocks=[section("done")], replace_original=True).status_code == 200
    assert (message.text, message.edited) == ("done", True)
    assert hook.send(text="x", blocks=[{"type": "poem"}]).status_code == 400
    assert hook.send(text="all see it", response_type="in_channel").status_code == 200
    assert fake.messages(channel)[-1].text == "all see it"
    assert hook.send(delete_original=True).status_code == 200
    assert message not in fake.messages(channel)
    assert [hook.send(text="only ann sees it").status_code for _ in range(3)] == [200, 200, 404]
    assert [found.payload.get("text") for found in fake.responses][-1] == "only ann sees it"
    assert len(fake.responses) == 5


# --- Socket Mode


class Listener:
    """`slack_sdk`'s client, with what it got."""

    def __init__(self, fake: FakeSlack, payload: dict[str, Any] | None = None) -> None:
        self.got: list[SocketModeRequest] = []
        self.acknowledging = True
        web = WebClient(token=fake.bot_token, base_url=fake.base_url)
        self.client = SocketModeClient(fake.app_token, web_client=web, ping_interval=0.2)

        def take(client: Any, request: SocketModeRequest) -> None:
            self.got.append(request)
            if self.acknowledging:
                client.send_socket_mode_response(SocketModeResponse(request.envelope_id, payload))

        self.client.socket_mode_request_listeners.append(take)
        self.client.connect()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


def an_event(fake: FakeSlack, text: str = "hi") -> dict[str, Any]:
    channel = next(iter(fake.channels.values()), None) or fake.channel("general")
    person = next((one for one in fake.people.values() if one.name == "ann"), None) or fake.person("ann")
    return fake.events_of(fake.say(channel, person, text))[0]


def test_each_event_goes_to_one_connection(fake: FakeSlack) -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(Listener(fake)) for _ in range(3)]
        fake.wait_for(lambda: fake.sockets == 3)
        sent = [fake.socket_send(an_event(fake, str(number))) for number in range(6)]
        fake.wait_for(lambda: all(delivery.acked_at for delivery in sent))
        assert [len(listener.got) for listener in listeners] == [2, 2, 2]
        assert set(fake.acked) == {delivery.ids[0] for delivery in sent}
        first = listeners[0].got[0]
        assert (first.type, first.retry_attempt, first.accepts_response_payload) == ("events_api", 0, False)
    fake.wait_for(lambda: fake.sockets == 0)
    assert fake.problems == []


def test_commands_and_clicks(fake: FakeSlack, client: WebClient, channel: Channel) -> None:
    ann = fake.person("ann")
    client.chat_postMessage(channel=channel.id, text="sure?", blocks=[button()])
    with Listener(fake, {"text": "at once"}) as listener:
        fake.wait_for(lambda: fake.sockets == 1)
        command = fake.socket_send(fake.slash(channel, ann, "status"))
        click = fake.socket_send(fake.click(ann, fake.messages(channel)[-1], "yes"))
        fake.wait_for(lambda: command.acked_at and click.acked_at)
        assert {found.type for found in listener.got} == {"slash_commands", "interactive"}
        assert command.answer == {"text": "at once"}
        assert fake.problems == []
        event = fake.socket_send(an_event(fake))
        fake.wait_for(lambda: event.acked_at)
        assert fake.problems == ["a payload came with the acknowledgement of an event, which takes none"]


def test_what_is_not_acknowledged_comes_again_elsewhere(fake: FakeSlack, channel: Channel) -> None:
    fake.ack_seconds = 0.3
    with Listener(fake) as deaf, Listener(fake) as other:
        fake.wait_for(lambda: fake.sockets == 2)
        deaf.acknowledging = False
        sent = [fake.socket_send(an_event(fake, str(number))) for number in range(2)]
        fake.wait_for(lambda: all(delivery.acked_at for delivery in sent))
        assert len(deaf.got) == 1
        assert [(found.retry_attempt, found.retry_reason) for found in other.got if found.retry_attempt] == [
            (1, "timeout")
        ]
        other.acknowledging = False
        event = fake.socket_send(an_event(fake))
        command = fake.socket_send(fake.slash(channel, fake.person("bob"), "x"))
        fake.wait_for(lambda: event.lost and command.lost)
        assert (len(event.ids), len(command.ids)) == (4, 1)


@pytest.mark.parametrize("reason", ["refresh_requested", "warning", "abrupt"])
def test_connections_end_and_come_back(fake: FakeSlack, reason: str) -> None:
    with Listener(fake) as listener:
        fake.wait_for(lambda: fake.sockets == 1)
        listener.acknowledging = False
        sent = fake.socket_send(an_event(fake))
        fake.wait_for(lambda: listener.got)
        fake.disconnect_sockets(reason)
        listener.acknowledging = True
        fake.wait_for(lambda: fake.sockets == 1, 10)
        fake.wait_for(lambda: sent.acked_at, 10)
        assert listener.got[-1].retry_attempt == 1
        assert listener.got[0].payload["event_id"] == listener.got[-1].payload["event_id"]
        assert listener.got[0].envelope_id != listener.got[-1].envelope_id
        assert len(fake.called("apps.connections.open")) == 2


def test_events_wait_for_a_connection_and_commands_do_not(fake: FakeSlack, channel: Channel) -> None:
    event = fake.socket_send(an_event(fake))
    command = fake.socket_send(fake.slash(channel, fake.person("bob"), "x"))
    assert (command.lost, event.lost) == (True, False)
    with Listener(fake):
        fake.wait_for(lambda: event.acked_at)


def test_sockets_that_are_refused(fake: FakeSlack, client: WebClient) -> None:
    url = client.apps_connections_open(app_token=fake.app_token)["url"]
    with connect(url) as socket:
        assert json.loads(socket.recv())["type"] == "hello"
        with pytest.raises(InvalidStatus), connect(url):
            pass
        assert "used before" in fake.problems.pop()
        socket.send("thanks")
        socket.send('{"envelope_id": "never sent"}')
        fake.wait_for(lambda: len(fake.problems) == 2)
        socket.ping().wait(5)
    fake.wait_for(lambda: fake.sockets == 0)
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(connect(fake.socket_url()))
        fake.wait_for(lambda: fake.sockets == 10)
        eleventh = stack.enter_context(connect(fake.socket_url()))
        assert json.loads(eleventh.recv())["reason"] == "too_many_websockets"
        with pytest.raises(ConnectionClosed):
            eleventh.recv()
