from __future__ import annotations

import pytest
from hypothesis import given

from app.adapters.formatting import telegram_html, telegram_length, utf16_length
from tests.unit.adapters.formatting.generated import noise


@pytest.mark.parametrize(("text", "length"), [("", 0), ("abc", 3), ("é中", 2), ("🚀", 2), ("👩🏽‍🚀", 7), ("\ud800", 1)])
def test_an_emoji_is_two_units(text: str, length: int) -> None:
    assert utf16_length(text) == length


@pytest.mark.parametrize(
    ("html", "length"),
    [("<b>ab</b>", 2), ('<a href="https://x.org">🚀</a>', 2), ("&lt;&amp;gt;&quot;", 6), ("<pre>a\nb</pre>", 3)],
)
def test_telegram_counts_no_tags(html: str, length: int) -> None:
    assert telegram_length(html) == length


@given(noise)
def test_text_is_as_long_as_before_it_was_escaped(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert telegram_length(f"<b>{escaped}</b>") == utf16_length(text)
    assert telegram_length(telegram_html(text)) <= len(telegram_html(text).encode("utf-16-le")) // 2
