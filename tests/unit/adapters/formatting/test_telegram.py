from __future__ import annotations

import pytest
from hypothesis import given

from app.adapters.formatting import telegram_html
from app.adapters.formatting.nodes import Link
from app.adapters.formatting.telegram import Telegram
from tests.fakes.telegram_html import problem_of
from tests.unit.adapters.formatting.corpus import CORPUS, DEEP
from tests.unit.adapters.formatting.generated import documents, noise

RENDERED = {
    'plain & <b> "x"': 'plain &amp; &lt;b&gt; "x"',
    "**bold** *italic* ~~gone~~ `a<b`": "<b>bold</b> <i>italic</i> <s>gone</s> <code>a&lt;b</code>",
    "**a **b** *c***": "<b>a b <i>c</i></b>",
    "un**believ**able": "un<b>believ</b>able",
    "**two\nlines**": "<b>two\nlines</b>",
    '[a **b**](https://x.org/?a=1&b=")': '<a href="https://x.org/?a=1&amp;b=%22">a <b>b</b></a>',
    "[`a`](https://x.org)": '<a href="https://x.org">a</a>',
    "<https://x.org>": '<a href="https://x.org">https://x.org</a>',
    "[](https://x.org)": '<a href="https://x.org">https://x.org</a>',
    "[me](mailto:me@x.org) <me@x.org> [u](tg://user?id=1) [doc](a.md)": (
        "me (me@x.org) me@x.org u (tg://user?id=1) doc (a.md)"
    ),
    "![a](https://x.org/c.png)": '<a href="https://x.org/c.png">a</a>',
    "# A **b**\ntext": "<b>A b</b>\n\ntext",
    "> a\n> **b**\n>\n> > c\n\nd": "<blockquote>a\n<b>b</b>\n\n&gt; c</blockquote>\n\nd",
    "- a\n  > b\n- c": "• a\n<blockquote>b</blockquote>\n• c",
    "- a\n  - b\n    1. c": "• a\n    • b\n        1. c",
    "```py\na < b\n\nc\n```": '<pre><code class="language-py">a &lt; b\n\nc</code></pre>',
    '```"<x>\na\n```': "<pre>a</pre>",
    "```\na\n```": "<pre>a</pre>",
    "| a | b |\n|---|---|\n| **x** | & |": "<pre>a | b\n--+--\nx | &amp;</pre>",
    "---": "———",
    "&lt;i&gt; &copy; &nbsp;x": "&lt;i&gt; © \N{NO-BREAK SPACE}x",
    "": "",
}


@pytest.mark.parametrize("source", RENDERED)
def test_renders(source: str) -> None:
    assert telegram_html(source) == RENDERED[source]


def test_an_address_is_escaped_even_if_the_parser_has_not_done_it() -> None:
    assert (
        Telegram().link(Link('https://x.org/"><b>&', ()), "a")
        == '<a href="https://x.org/&quot;&gt;&lt;b&gt;&amp;">a</a>'
    )


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus_is_valid(name: str) -> None:
    assert problem_of(telegram_html(CORPUS[name])) is None


@pytest.mark.parametrize("name", DEEP)
def test_deep_texts_are_valid(name: str) -> None:
    assert problem_of(telegram_html(DEEP[name])) in {None, "message text is empty"}


@given(documents | noise)
def test_anything_is_valid(source: str) -> None:
    assert problem_of(telegram_html(source)) in {None, "message text is empty"}


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ("a &lt; <b>b <i>c</i></b> <pre><code class=\"language-c++\">d</code></pre> &#39;", None),
        ('<a href="https://x.org">a</a> <blockquote expandable>b <code>c</code></blockquote>', None),
        ('<span class="tg-spoiler">a</span>', None),
        ("", "message text is empty"),
        ("<b> </b>", "message text is empty"),
        ("é <b>a", "can't parse entities: Can't find end tag corresponding to start tag b"),
        ("é a</b>", "can't parse entities: Unexpected end tag at byte offset 4"),
        ("<b>é<i>a</b>", 'can\'t parse entities: Unmatched end tag at byte offset 9, expected "</i>", found "</b>"'),
        ("<h1>a</h1>", 'can\'t parse entities: Unsupported start tag "h1" at byte offset 0'),
        ("a < b", "can't parse entities: Unclosed start tag at byte offset 2"),
        ("a > b", "can't parse entities: Unclosed start tag at byte offset 2"),
        ("a & b", "can't parse entities: Unsupported entity at byte offset 0"),
        ("&copy;", "can't parse entities: Unsupported entity at byte offset 0"),
        ('<a href="?a&b">c</a>', "can't parse entities: Unsupported entity in the tag \"a\" at byte offset 0"),
        ("<a>b</a>", "can't parse entities: Unexpected attributes of the tag \"a\" at byte offset 0"),
        ('<b class="x">b</b>', "can't parse entities: Unexpected attributes of the tag \"b\" at byte offset 0"),
        ("<code><b>a</b></code>", "can't parse entities: Tag \"b\" must not be inside code at byte offset 6"),
        ("<pre><b>a</b></pre>", "can't parse entities: Tag \"b\" must not be inside code at byte offset 5"),
        (
            "<blockquote><b><blockquote>a</blockquote></b></blockquote>",
            "can't parse entities: Tag \"blockquote\" must not be nested at byte offset 15",
        ),
        (
            '<a href="x"><code>a</code></a>',
            "can't parse entities: Tag \"code\" must not be inside a link at byte offset 12",
        ),
    ],
)  # fmt: skip
def test_what_the_fake_telegram_says(html: str, problem: str | None) -> None:
    assert problem_of(html) == problem
