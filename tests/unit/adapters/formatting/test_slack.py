from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.formatting import slack_mrkdwn
from app.adapters.formatting.nodes import Link
from app.adapters.formatting.slack import Slack
from tests.unit.adapters.formatting.checks import slack_problem
from tests.unit.adapters.formatting.corpus import CORPUS
from tests.unit.adapters.formatting.generated import documents, noise

# A dot stands for the zero-width space.
RENDERED = {
    "plain & <b>": "plain &amp; &lt;b&gt;",
    "**bold** *italic* ~~gone~~ `a<b`": "*bold* _italic_ ~gone~ `a&lt;b`",
    "***both***, **a *b* c**, **a **b** c**": "_*both*_, *a _b_ c*, *a b c*",
    "un**believ**able": "un·*believ*·able",
    "これは**重要**です。": "これは·*重要*·です。",
    "(**a**), *b*! **c**": "(*a*), _b_! *c*",
    "**two\nlines**": "*two*\n*lines*",
    "snake_case 2 * 3 * 4": "snake_case 2 * 3 * 4",
    "`` a`b ``": "```a`b```",
    "`` `a` ``": "``` `a` ```",
    "[a](https://x.org/?a=1&b=2)": "<https://x.org/?a=1&amp;b=2|a>",
    "[a|b > **c**](https://x.org/a|b>c)": "<https://x.org/a%7Cb%3Ec|a|b &gt; c>",
    "[a](https://x.org/a_(b))": "<https://x.org/a_(b)|a>",
    "<https://x.org> [](https://x.org) <me@x.org>": "<https://x.org> <https://x.org> <mailto:me@x.org|me@x.org>",
    "[me](mailto:me@x.org) [doc](a.md) [t](tel:1) [s](slack://x)": "<mailto:me@x.org|me> doc (a.md) t (tel:1) s (slack://x)",
    "https://x.org/?a=1&b=2": "https://x.org/?a=1&amp;b=2",
    "![a chart](https://x.org/c.png) ![](https://x.org/d.png)": "<https://x.org/c.png|a chart> <https://x.org/d.png>",
    "[![b](https://x.org/b.svg)](https://x.org)": "<https://x.org|b>",
    "# A **b** `c`\ntext": "*A b `c`*\n\ntext",
    "> a\n> **b**\n>\n> > c\n\nd": "> a\n> *b*\n>\n> ·&gt; c\n\nd",
    "> a\n>\n> ```\n> x\n> ```": "> a\n>\n```\nx\n```",
    "\\> a": "·&gt; a",
    "- a\n  b\n  - c\n    1. d\n- e": "• a\n    b\n    • c\n        1. d\n• e",
    "3. a\n4. b": "3. a\n4. b",
    "1. a\n\n2. b\n   - c\n": "1. a\n\n2. b\n    • c",
    "1. a\n\n   b\n   - c\n     - d": "1. a\n\n    b\n    • c\n        • d",
    "- [ ] a\n- [x] b": "• [ ] a\n• [x] b",
    "- a\n  ```py\n  if a:\n    b\n  ```\n- > c": "• a\n```\nif a:\n  b\n```\n•\n> c",
    "```py\na < b\n```": "```\na &lt; b\n```",
    "````\n```\n````": "```\n`·`·`\n```",
    "a\n\n    code": "a\n\n```\ncode\n```",
    "| a | b |\n|---|--:|\n| **x** | 10 |\n| 中文 | 5 |": "```\na    |  b\n-----+---\nx    | 10\n中文 |  5\n```",
    "| a |\n|---|\n| [b](https://x.org) |": "```\na\n-----------------\nb (https://x.org)\n```",
    "| a | b |\n|---|---|\n| `x | y` | z |": "```\na     | b\n------+--\nx | y | z\n```",
    "`| a | b`\n\n```\n| `c | d` |\n```": "`| a | b`\n\n```\n| `c | d` |\n```",
    "a\n\n---\n\nb": "a\n\n———\n\nb",
    "a  \nb\\\nc\nd": "a\nb\nc\nd",
    "so [1]\n\n[1]: https://x.org": "so [1]\n\n[1]: https://x.org",
    "a\x00b\x1b\ud800\r\nc": "ab\nc",
    "\\`\\`\\`": "`·`·`",
    "```\n```": "`·`·`\n`·`·`",
    "": "",
}


@pytest.mark.parametrize("source", RENDERED)
def test_renders(source: str) -> None:
    assert slack_mrkdwn(source).replace("\u200b", "·") == RENDERED[source]


@pytest.mark.parametrize("mention", ["<!channel>", "<!here|x>", "<!everyone>", "<@U123>", "<#C1>", "<!subteam^S1>"])
@pytest.mark.parametrize(
    "around", ["{}", "`{}`", "**{}**", "# {}", "> {}", "```\n{}\n```", "[{}](https://x.org)", "|{}|\n|-|\n|{}|"]
)
def test_mentions_nobody(mention: str, around: str) -> None:
    rendered = slack_mrkdwn(around.replace("{}", mention))
    assert mention[:2] not in rendered
    assert mention[1:-1].split("|", maxsplit=1)[0] in rendered


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus_is_valid(name: str) -> None:
    assert slack_problem(slack_mrkdwn(CORPUS[name])) is None


@given(documents | noise)
def test_anything_is_valid(source: str) -> None:
    assert slack_problem(slack_mrkdwn(source)) is None


def test_an_address_is_escaped_even_if_the_parser_has_not_done_it() -> None:
    assert Slack().link(Link("https://x.org/|<!here>&", ()), "a") == "<https://x.org/%7C%3C!here%3E&amp;|a>"


@given(st.sampled_from(["!channel", "@U1", "https://x.org|<!here>", "mailto:a|b"]), noise)
def test_no_address_breaks_out_of_its_link(address: str, around: str) -> None:
    for source in (
        f"[a](<{address}>)",
        f"[{around}]({address}{around})",
        f"<{address}{around}>",
        f"![{around}](<{address}>)",
    ):
        assert slack_problem(slack_mrkdwn(source)) is None
