"""Where callbacks may go."""

from __future__ import annotations

import pytest

from app.adapters.webhook.reply_rules import check_reply_url
from app.config.adapters import WebhookAdapter
from app.errors import Refused

SETTINGS = WebhookAdapter(
    kind="webhook",
    name="hook",
    reply_urls=["https://exact.example/cb?x=1"],
    reply_origins=[
        "https://origin.example",
        "https://port.example:8443",
        "http://plain.example",
        "https://[2001:db8::1]",
    ],
    reply_hosts=["host.example", "Mixed.Example", "::1", "10.0.0.7", "xn--mnchen-3ya.example"],
)
HTTP_TOO = SETTINGS.model_copy(update={"unsafe_reply_http": True})


@pytest.mark.parametrize(
    "url",
    [
        "https://exact.example/cb?x=1",
        "https://origin.example/any/path?q#f",
        "https://origin.example:443/",
        "https://ORIGIN.example/",
        "HTTPS://origin.example/",
        "https://port.example:8443/x",
        "https://host.example/",
        "https://host.example:9999/",
        "https://HOST.EXAMPLE/",
        "https://mixed.example/",
        "https://10.0.0.7/",
        "https://[::1]/",
        "https://[2001:DB8::1]/",
        "https://xn--mnchen-3ya.example/",
        "https://host.example",
        "https://host.example?to=https://evil.example",
        "https://host.example/@evil.example",
        "https://host.example#@evil.example",
    ],
)
def test_allowed(url: str) -> None:
    check_reply_url(url, SETTINGS)


@pytest.mark.parametrize(
    "url",
    ["http://host.example/", "http://plain.example/", "http://plain.example:80/"],
)
def test_plain_http_only_where_it_was_switched_on(url: str) -> None:
    with pytest.raises(Refused, match="must be https"):
        check_reply_url(url, SETTINGS)
    check_reply_url(url, HTTP_TOO)


NO_URL = "is no URL|must be an https URL with a host"
CREDENTIALS = "must not contain credentials"
CONTROL = "spaces or control characters"
NO_RULE = "matches none of reply_urls, reply_origins and reply_hosts"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", NO_URL),
        ("host.example", NO_URL),
        ("/path", NO_URL),
        ("//host.example/", NO_URL),
        ("https://", NO_URL),
        ("https:///path", NO_URL),
        ("https:host.example", NO_URL),
        ("ftp://host.example/", NO_URL),
        ("file:///etc/passwd", NO_URL),
        ("javascript:alert(1)", NO_URL),
        ("gopher://host.example/", NO_URL),
        ("https://host.example:99999/", NO_URL),
        ("https://host.example:x/", NO_URL),
        ("https://host.example:-1/", NO_URL),
        ("https://[::1/", NO_URL),
        ("https://[host.example]/", NO_URL),
        # Who is asked is what stands behind the last @, whatever stands before it.
        ("https://host.example@evil.example/", CREDENTIALS),
        ("https://host.example:443@evil.example/", CREDENTIALS),
        ("https://user:pass@host.example/", CREDENTIALS),
        ("https://user@host.example/", CREDENTIALS),
        ("https://@host.example/", CREDENTIALS),
        ("https://:@host.example/", CREDENTIALS),
        ("https://evil.example\\@host.example/", CREDENTIALS),
        ("https://host.example%40evil.example/", NO_RULE),
        ("https://host.example\\.evil.example/", NO_RULE),
        ("https://host.example\\evil.example/", NO_RULE),
        ("https://evil.example#@host.example/", NO_RULE),
        ("https://evil.example?@host.example/", NO_RULE),
        ("https://evil.example/@host.example", NO_RULE),
        # Parsers disagree about these: some drop them, some do not.
        (" https://host.example/", CONTROL),
        ("https://host.example/ ", CONTROL),
        ("https://host.example/a b", CONTROL),
        ("https://host.ex\tample/", CONTROL),
        ("https://host.example/\r\nX-Evil: 1", CONTROL),
        ("https://host.example/\0", CONTROL),
        ("https://host.example/\x7f", CONTROL),
        ("https://host.example/\u00a0", "ASCII"),
        ("https://host.example/\ud800", "ASCII"),
        ("https://host.example/ü", "ASCII"),
        # Letters that become others on the way to DNS.
        ("https://ﬁle.example/", "ASCII"),
        ("https://ｈost.example/", "ASCII"),
        ("https://host。example/", f"{NO_URL}|ASCII"),
        ("https://münchen.example/", "ASCII"),
        # Near misses.
        ("https://evil.example/", NO_RULE),
        ("https://sub.host.example/", NO_RULE),
        ("https://host.example.evil.example/", NO_RULE),
        ("https://evilhost.example/", NO_RULE),
        ("https://host.example./", NO_RULE),
        ("https://exact.example/cb?x=2", NO_RULE),
        ("https://exact.example/cb?x=1#f", NO_RULE),
        ("https://exact.example/", NO_RULE),
        ("https://origin.example:8443/", NO_RULE),
        ("https://origin.example:0/", NO_RULE),
        ("https://port.example/", NO_RULE),
        ("https://port.example:443/", NO_RULE),
        ("https://plain.example/", NO_RULE),
        ("https://10.0.0.8/", NO_RULE),
        ("https://0x0a000007/", NO_RULE),
        ("https://167772167/", NO_RULE),
        ("https://[::ffff:10.0.0.7]/", NO_RULE),
        ("https://[::1%25eth0]/", f"{NO_URL}|{NO_RULE}"),
    ],
)
def test_refused(url: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as caught:
        check_reply_url(url, SETTINGS)
    assert caught.value.status == 400


def test_nothing_is_allowed_where_nothing_is_listed() -> None:
    with pytest.raises(Refused, match=NO_RULE):
        check_reply_url("https://host.example/", WebhookAdapter(kind="webhook", name="hook"))


def test_an_exact_url_is_still_refused_credentials_and_http() -> None:
    urls = ["https://a:b@host.example/", "http://host.example/"]
    settings = WebhookAdapter(kind="webhook", name="hook", reply_urls=urls)
    for url in urls:
        with pytest.raises(Refused):
            check_reply_url(url, settings)
