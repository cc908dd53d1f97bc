from __future__ import annotations

import pytest

from app.adapters.formatting import plain

RENDERED = {
    "**bold** *italic* ~~gone~~ `a<b` & <b>": "bold italic gone a<b & <b>",
    "[a](https://x.org) <https://x.org> [me](mailto:me@x.org)": "a (https://x.org) https://x.org me (me@x.org)",
    "![a](https://x.org/c.png) [doc](a.md)": "a (https://x.org/c.png) doc (a.md)",
    "# A **b**\ntext": "A b\n\ntext",
    "- a\n  - b\n\n10. c\n    more": "• a\n  • b\n\n10. c\n    more",
    "> a\n>\n> > b": "> a\n>\n> > b",
    "```py\na\n\n  b\n```": "a\n\n  b",
    "| a | b | c |\n|:-:|---|--:|\n| xxx | 中文 | 1 |\n| y | e\N{COMBINING ACUTE ACCENT} | 20 |": (
        " a  | b    |  c\n----+------+---\nxxx | 中文 |  1\n y  | e\N{COMBINING ACUTE ACCENT}    | 20"
    ),
    "\\*a\\*\\\nb": "*a*\nb",
    "\N{ZERO WIDTH SPACE}": "\N{ZERO WIDTH SPACE}",
}


@pytest.mark.parametrize("source", RENDERED)
def test_renders(source: str) -> None:
    assert plain(source) == RENDERED[source]
