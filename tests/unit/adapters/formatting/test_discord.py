from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.formatting import discord_markdown
from tests.unit.adapters.formatting.checks import fences_problem
from tests.unit.adapters.formatting.corpus import CORPUS
from tests.unit.adapters.formatting.generated import documents, noise

# A dot stands for the zero-width space.
RENDERED = {
    "**bold** *italic* _italic_ __bold__ ~~gone~~ `a<b`": "**bold** *italic* *italic* **bold** ~~gone~~ `a<b`",
    "***both***, **a *b***, *a **b***": "***both***, **a *b***, *a **b***",
    "**a***b*": "**a**·*b*",
    "\\***a**": "\\*·**a**",
    "un**believ**able 2 * 3 snake_case": "un**believ**able 2 \\* 3 snake\\_case",
    "**two\nlines**": "**two\nlines**",
    "`` a`b `` `` `c` `` ```` d```e ````": "``a`b`` `` `c` `` ``d`·`·`e``",
    "[a](https://x.org/a_(b)) [*c*](<https://x.org/a b>)": "[a](https://x.org/a_%28b%29) [*c*](https://x.org/a%20b)",
    "[https://y.org](https://x.org)": "https://y.org (<https://x.org>)",
    "<https://x.org/a_b> https://x.org/a_b_c, x_y": "<https://x.org/a_b> https://x.org/a_b_c, x\\_y",
    "[me](mailto:me@x.org) [doc](a.md)": "me (me@x.org) doc (a.md)",
    "![a](https://x.org/c.png) ![](https://x.org/d.png)": "[a](https://x.org/c.png) <https://x.org/d.png>",
    "# A\n## B **b**\n### C\n#### D **d**\n": "# A\n\n## B **b**\n\n### C\n\n**D d**",
    "> a\n>\n> > b\n>\n> ```\n> c\n> ```": "> a\n> \n> \\> b\n> \n> ```\n> c\n> ```",
    "- a\n  - b\n    1. c\n* d": "- a\n  - b\n    1. c\n\n- d",
    "3) a\n4) b\n   - c": "3. a\n4. b\n   - c",
    "- [ ] a": "- \\[ ] a",
    "- a\n  ```py\n  b\n  ```": "- a\n```py\nb\n```",
    "```c++\na *b*\n```": "```c++\na *b*\n```",
    "```a,b\nx\n```": "```\nx\n```",
    "````md\n```\n````": "```md\n`·`·`\n```",
    "| a | b |\n|---|--:|\n| **x** | 10 |": "```\na |  b\n--+---\nx | 10\n```",
    "---": "———",
    "\\*a\\* \\_\\_b\\_\\_ \\~\\~c\\~\\~": "\\*a\\* \\_\\_b\\_\\_ \\~\\~c\\~\\~",
    "\\`d\\` ||e|| \\\\": "\\`d\\` \\|\\|e\\|\\| \\\\",
    "\\# a\n\\- b\n\\> c\n1\\. d\n\\+ e\n-# f\n>>> g": "\\# a\n\\- b\n\\> c\n1\\. d\n\\+ e\n\\-# f\n\n> \\> \\> g",
    "-5 and 3.14\n\n3.14": "-5 and 3.14\n\n3.14",
    "<@1> <t:1:R> <:a:1> [a]": "\\<@1> \\<t:1:R> \\<:a:1> \\[a]",
    "": "",
}


@pytest.mark.parametrize("source", RENDERED)
def test_renders(source: str) -> None:
    assert discord_markdown(source).replace("\u200b", "·") == RENDERED[source]


@pytest.mark.parametrize("name", CORPUS)
def test_the_fences_of_the_corpus_are_balanced(name: str) -> None:
    assert fences_problem(discord_markdown(CORPUS[name])) is None


@given(documents | noise)
def test_fences_are_balanced(source: str) -> None:
    assert fences_problem(discord_markdown(source)) is None


@given(st.text(string.punctuation.replace(":", "") + "a1 ", min_size=1))
def test_what_is_escaped_stays_as_it_is(text: str) -> None:
    text = " ".join(text.split())
    rendered = discord_markdown(re.sub(r"[^a1 ]", r"\\\g<0>", text))
    assert re.sub(r"\\([^a1 ])", r"\1", rendered) == text
    left = re.sub(r"\\[^a1 ]", "", rendered)
    assert not set("\\*_~`|<[") & set(left)
    assert not re.match(r"[#>]|[-+](?:[ #]|$)|\d+\.(?: |$)", rendered)
