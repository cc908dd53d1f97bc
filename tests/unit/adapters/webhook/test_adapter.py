"""Callbacks, against a small real receiver: what each answer means, and what the receiver can check."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.adapters.webhook import WebhookAdapter
from app.adapters.webhook.adapter import LONGEST_RETRY_AFTER, signature
from app.config.adapters import WebhookAdapter as Settings
from app.results import Ambiguous, Failed, Retry, SendResult, Sent
from app.traffic import Outbound
from tests.fakes.receiver import Receiver, receiving

SECRET = "the secret"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as found:
        yield found


def an_adapter(**settings: Any) -> WebhookAdapter:
    allowed = {"unsafe_reply_http": True, "reply_hosts": ["127.0.0.1"], "reply_timeout": "2s"}
    return WebhookAdapter(Settings(kind="webhook", name="hook", **{**allowed, **settings}), [SECRET])


def outbound(url: str, **columns: Any) -> Outbound:
    body = {"thread": "whth_1", "run": "run-1", "status": "done", "text": "hi ü"}
    return Outbound(
        **{"id": "delivery-1", "address": f"whth_1 {url}", "kind": "reply", "body": body, "attempt": 1, **columns}
    )


def answered(receiver: Receiver, answer: str) -> SendResult:
    receiver.plan = [answer]
    return an_adapter(reply_timeout="300ms").send(outbound(receiver.url))


def test_a_callback_says_what_became_of_the_run(receiver: Receiver) -> None:
    assert an_adapter().send(outbound(receiver.url)) == Sent("200")
    assert receiver.got == [
        {"ok": True, "threadId": "whth_1", "runId": "run-1", "status": "done", "text": "hi ü"},
    ]
    assert receiver.deliveries == ["delivery-1"]
    assert not receiver.problems


def test_files_go_with_it(receiver: Receiver) -> None:
    data = base64.b64encode(b"x,y").decode()
    file = {"name": "a.csv", "media_type": "text/csv", "data": data}
    an_adapter().send(outbound(receiver.url, files=[file]))
    assert receiver.got[0]["attachments"] == [{"name": "a.csv", "mediaType": "text/csv", "data": data}]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("200", Sent("200")),
        ("201", Sent("201")),
        ("204", Sent("204")),
        ("400", Failed("HTTP 400")),
        ("401", Failed("HTTP 401")),
        ("403", Failed("HTTP 403")),
        ("404", Failed("HTTP 404")),
        ("410", Failed("HTTP 410")),
        ("422", Failed("HTTP 422")),
        ("408", Retry("HTTP 408")),
        ("425", Retry("HTTP 425")),
        ("429", Retry("HTTP 429")),
        ("429 7", Retry("HTTP 429", 7.0)),
        ("429 0", Retry("HTTP 429", 0.0)),
        ("429 999999", Retry("HTTP 429", LONGEST_RETRY_AFTER)),
        ("429 " + "9" * 400, Retry("HTTP 429", LONGEST_RETRY_AFTER)),
        ("429 -1", Retry("HTTP 429")),
        ("429 soon", Retry("HTTP 429")),
        ("429 \u00b2", Retry("HTTP 429")),
        ("500", Retry("HTTP 500")),
        ("502", Retry("HTTP 502")),
        ("503 5", Retry("HTTP 503", 5.0)),
        ("504", Retry("HTTP 504")),
    ],
)
def test_what_an_answer_means(receiver: Receiver, answer: str, result: SendResult) -> None:
    assert answered(receiver, answer) == result


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    with receiving(SECRET) as elsewhere:
        result = answered(receiver, f"{status} {elsewhere.url}")
        assert result == Failed(f"HTTP {status}: redirects are not followed")
        assert not elsewhere.posts


@pytest.mark.parametrize("answer", ["drop", "applied-drop", "hang"])
def test_no_answer_leaves_it_open_whether_it_arrived(receiver: Receiver, answer: str) -> None:
    assert isinstance(answered(receiver, answer), Ambiguous)


@pytest.mark.parametrize("answer", ["cut", "unzip"])
def test_an_answer_whose_body_is_broken_is_still_an_answer(receiver: Receiver, answer: str) -> None:
    assert answered(receiver, answer) == Sent("200")


def test_after_a_broken_connection_the_next_callback_gets_through(receiver: Receiver) -> None:
    adapter = an_adapter(reply_timeout="300ms")
    receiver.plan = ["200", "drop", "cut", "200"]
    results = [adapter.send(outbound(receiver.url)) for _ in range(4)]
    assert [type(result) for result in results] == [Sent, Ambiguous, Sent, Sent]


def test_nobody_there_is_no_doubt() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    result = an_adapter().send(outbound(f"http://127.0.0.1:{port}/"))
    assert isinstance(result, Retry)
    assert result.reason.startswith("no connection")


def test_a_connection_that_takes_too_long_is_no_doubt() -> None:
    """A listener whose queue is full: the connection is never made."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for client in waiting:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            result = an_adapter(reply_timeout="200ms").send(outbound(f"http://127.0.0.1:{port}/"))
        finally:
            for client in waiting:
                client.close()
    assert isinstance(result, Retry)


def test_a_server_that_speaks_no_tls_is_no_doubt(receiver: Receiver) -> None:
    result = an_adapter().send(outbound(receiver.url.replace("http:", "https:")))
    assert isinstance(result, Retry)
    assert not receiver.posts


def test_the_rules_are_asked_again_when_it_leaves(receiver: Receiver) -> None:
    result = an_adapter(reply_hosts=["elsewhere.example"]).send(outbound(receiver.url))
    assert isinstance(result, Failed)
    assert "matches none of" in result.reason
    assert not receiver.posts


def test_addresses() -> None:
    adapter = an_adapter()
    assert adapter.address({}, "whth_1") is None
    assert adapter.address({"url": "https://a.example/x?y=1"}, "whth_1") == "whth_1 https://a.example/x?y=1"


def test_every_secret_in_force_signs(receiver: Receiver) -> None:
    """A receiver that still knows the old secret, and one that knows the new one, can both check the callback."""
    now = int(time.time())
    header = signature(b'{"a": 1}', ["old", "new"], now)
    t, *signatures = header.split(",")
    assert t == f"t={now}"
    for secret, found in zip(["old", "new"], signatures, strict=True):
        digest = hmac.new(secret.encode(), f"{now}.".encode() + b'{"a": 1}', hashlib.sha256).hexdigest()
        assert found == f"v1={digest}"


def test_the_signature_covers_body_and_time() -> None:
    signed = signature(b"body", [SECRET], 1000)
    assert signature(b"bodx", [SECRET], 1000) != signed
    assert signature(b"body", [SECRET], 1001) != signed
    assert signature(b"body", ["other"], 1000) != signed
    assert SECRET not in signed


def test_the_receiver_notices_a_wrong_secret(receiver: Receiver) -> None:
    """The fake checks what a careful receiver checks; else none of the above would mean anything."""
    adapter = WebhookAdapter(
        Settings(kind="webhook", name="hook", unsafe_reply_http=True, reply_hosts=["127.0.0.1"]), ["another"]
    )
    assert adapter.send(outbound(receiver.url)) == Failed("HTTP 401")
    assert receiver.problems == ["the signature is wrong"]
    assert json.dumps(receiver.got) == "[]"
