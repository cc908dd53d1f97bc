"""A webhook body: what is taken, and the reason given for everything that is not."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.webhook.parse import THREAD_PREFIX, inbound_of, parse_body
from app.errors import Refused
from app.traffic import INLINE_TEXT_BYTES, Inbound

RUN = uuid4()


def body(**fields: Any) -> bytes:
    return json.dumps({"user": "ada", "text": "hello", **fields}).encode()


def a_file(**fields: Any) -> dict[str, Any]:
    return {"name": "a.txt", "data": "QQ==", **fields}


def inbound(raw: bytes, *, path_thread: str | None = None, run: UUID = RUN) -> Inbound:
    return inbound_of(parse_body(raw), agent="default", adapter="hook", run=run, path_thread=path_thread)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"\xff\xfe\xfd", "the body is no JSON"),
        (b"[" * 100_000, "the body is no JSON"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"{}", "user: Field required; text: Field required"),
        (b'{"user": "ada"}', "text: Field required"),
        (body(text=""), "text: "),
        (body(text=" \n\t"), "text: .*must not be blank"),
        (body(text=None), "text: "),
        (body(text=7), "text: "),
        (body(text="\ud800"), "text: "),
        (body(user=""), "user: "),
        (body(user="  "), "user: .*must not be blank"),
        (body(user="u" * 201), "user: .*200"),
        (body(threadId=""), "threadId: "),
        (body(threadId="t" * 201), "threadId: .*200"),
        (body(threadId="a\0b"), "threadId: .*control characters"),
        (body(eventId=""), "eventId: "),
        (body(eventId="e" * 201), "eventId: .*200"),
        (body(eventId="e\0"), "eventId: .*control characters"),
        (body(eventId="e\n2"), "eventId: .*control characters"),
        (body(eventId="\ud800"), "eventId: "),
        (body(replyUrl="https://a.example/" + "x" * 2000), "replyUrl: .*2000"),
        (body(replyUrl=7), "replyUrl: "),
        (body(sync="perhaps"), "sync: "),
        (body(timeoutMs=-1), "timeoutMs: .*0"),
        (body(timeoutMs=30_001), "timeoutMs: .*30000"),
        (body(timeoutMs="soon"), "timeoutMs: "),
        (body(data=[1]), "data: "),
        (body(data="x"), "data: "),
        (body(attachments={}), "attachments: "),
        (body(attachments=[a_file()] * 11), "attachments: .*10"),
        (body(attachments=[a_file(data="no base64!")]), "attachments.0.data: .*must be base64"),
        (body(attachments=[a_file(data="QQ")]), "attachments.0.data: .*must be base64"),
        (body(attachments=[a_file(data="ä")]), "attachments.0.data: .*must be base64"),
        (body(attachments=[a_file(name="..")]), "attachments.0.name: .*must be a file's name"),
        (body(attachments=[a_file(name="a/b/")]), "attachments.0.name: .*must be a file's name"),
        (body(attachments=[a_file(mediaType="m" * 101)]), "attachments.0.mediaType: .*100"),
        (body(attachments=[{"name": "a"}]), "attachments.0.data: Field required"),
        (body(attachments=[a_file(path="/etc/passwd")]), "attachments.0.path: Extra inputs"),
        (body(nonsense=1), "nonsense: Extra inputs"),
        (body(thread_id="x"), "thread_id: Extra inputs"),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as caught:
        parse_body(raw)
    assert caught.value.status == 400
    json.dumps(caught.value.message).encode()


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(Refused, match=r"text: .*; timeoutMs: .*; more: "):
        parse_body(body(text="", timeoutMs=-1, more=1))


def test_a_whole_body() -> None:
    parsed = parse_body(
        body(
            threadId="whth_x",
            eventId="e1",
            replyUrl="https://a.example/",
            sync=True,
            timeoutMs=0,
            data={"n": 1},
            attachments=[a_file(mediaType="text/plain")],
        )
    )
    assert (parsed.thread_id, parsed.event_id, parsed.reply_url) == ("whth_x", "e1", "https://a.example/")
    assert (parsed.sync, parsed.timeout_ms, parsed.data) == (True, 0, {"n": 1})


def test_what_is_left_out() -> None:
    parsed = parse_body(body())
    assert (parsed.thread_id, parsed.event_id, parsed.reply_url, parsed.sync) == (None, None, None, False)
    assert (parsed.timeout_ms, parsed.data, parsed.attachments) == (25_000, {}, [])


def test_a_new_thread_gets_a_name_that_nobody_can_guess() -> None:
    first, second = inbound(body()), inbound(body())
    assert first.key.startswith(THREAD_PREFIX)
    assert first.key != second.key
    assert len(first.key) > 20
    assert first.create_thread
    assert first.channel == first.key


@pytest.mark.parametrize(("in_body", "in_path"), [("whth_a", None), (None, "whth_a"), ("whth_a", "whth_a")])
def test_a_named_thread_must_exist(in_body: str | None, in_path: str | None) -> None:
    fields = {"threadId": in_body} if in_body else {}
    found = inbound(body(**fields), path_thread=in_path)
    assert (found.key, found.create_thread) == ("whth_a", False)


def test_body_and_url_must_name_one_thread() -> None:
    with pytest.raises(Refused, match="not the thread of the URL") as caught:
        inbound(body(threadId="whth_a"), path_thread="whth_b")
    assert caught.value.status == 409


@pytest.mark.parametrize("thread", ["a\0b", "\ud800"])
def test_a_thread_that_can_not_exist_is_not_looked_for(thread: str) -> None:
    """Postgres refuses such text; the caller is told what it would be told of any unknown thread."""
    with pytest.raises(Refused) as caught:
        inbound(body(), path_thread=thread)
    assert caught.value.status == 404


def test_events_are_deduplicated_by_their_id_else_by_the_run() -> None:
    keys = {
        inbound(body(eventId=str(RUN))).event_key,
        inbound(body(eventId="e1")).event_key,
        inbound(body()).event_key,
        inbound(body(), run=uuid4()).event_key,
    }
    assert len(keys) == 4
    assert inbound(body(eventId="e1")).event_key == inbound(body(eventId="e1")).event_key


def test_where_the_reply_goes() -> None:
    assert inbound(body()).reply == {}
    assert inbound(body(replyUrl="https://a.example/")).reply == {"url": "https://a.example/"}


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\a b.txt", "a b.txt"),
        (".bashrc", "bashrc"),
        ("a;rm -rf $(x).txt", "a_rm -rf __x_.txt"),
        ("ü\0\n.txt", "___.txt"),
        ("..\\..", None),
    ],
)
def test_names_of_files(name: str, stored: str | None) -> None:
    raw = body(attachments=[a_file(name=name)])
    if stored is None:
        with pytest.raises(Refused, match="must be a file's name"):
            parse_body(raw)
    else:
        assert parse_body(raw).attachments[0].name == stored


@given(st.text(min_size=1, max_size=60))
def test_no_file_name_leaves_its_folder(name: str) -> None:
    try:
        parsed = parse_body(body(attachments=[a_file(name=name)]))
    except Refused:
        return
    stored = parsed.attachments[0].name
    assert stored
    assert not stored.startswith(".")
    assert not set(stored) & set("/\\\0\n")


@pytest.mark.parametrize(
    ("media_type", "content", "inline"),
    [
        ("text/plain", b"hi", "hi"),
        ("text/csv; charset=utf-8", "ü".encode(), "ü"),
        ("text/plain", b"x" * INLINE_TEXT_BYTES, "x" * INLINE_TEXT_BYTES),
        ("text/plain", b"x" * (INLINE_TEXT_BYTES + 1), None),
        ("text/plain", b"\xff", None),
        ("application/json", b"{}", None),
        ("text/plain", b"", ""),
    ],
)
def test_short_text_is_shown_as_it_is(media_type: str, content: bytes, inline: str | None) -> None:
    data = base64.b64encode(content).decode()
    (file,) = inbound(body(attachments=[a_file(mediaType=media_type, data=data)])).attachments
    assert file.get("text") == inline
    assert (file["media_type"], file["data"]) == (media_type, data)
