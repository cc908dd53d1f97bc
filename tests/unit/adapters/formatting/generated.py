"""Markdown made up by hypothesis: well-formed documents, and noise of marks and letters."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count

from hypothesis import strategies as st

MARKS = [*"*_`~[]()<>!|#+-=.\\&:;\"'/@ \n\t", "\n\n", "```", "~~~", "> ", "- ", "1. ", "    ", "https://x.org/", "\r\n"]
LETTERS = [*"ab1é中א", "🚀", "👩🏽‍🚀", "🇨🇭", "e\N{COMBINING ACUTE ACCENT}", "\x00", "\ud800", "word"]

noise = st.lists(st.sampled_from(MARKS + LETTERS), max_size=120).map("".join) | st.text(max_size=80)

SPANS: list[Callable[[str], str]] = [
    lambda word: word,
    lambda word: f"**{word}**",
    lambda word: f"*{word}*",
    lambda word: f"~~{word}~~",
    lambda word: f"`{word}`",
    lambda word: f"``{word}`x``",
    lambda word: f"**a *{word}* b**",
    lambda word: f"in{word}**side**",
    lambda word: f"[{word}](https://x.org/a_(b)?c=d&e)",
    lambda word: f"![{word}](https://x.org/a.png)",
    lambda word: f"[![{word}](https://x.org/a.png) **{word}**](https://x.org/b)",
    lambda word: f"<https://x.org/{word}>",
    lambda word: f"<!{word}> & <@{word}>",
    lambda word: f"\\*{word}\\* \\`{word}\\`",
]


@st.composite
def paragraphs(draw: st.DrawFn, most: int = 40) -> str:
    """With the word `w` for each of its words: `numbered` makes them different."""
    spans = draw(st.lists(st.sampled_from(SPANS), min_size=1, max_size=most))
    ends = draw(st.lists(st.sampled_from([" ", " ", " ", "\n"]), min_size=len(spans), max_size=len(spans)))
    return "".join(span("w") + end for span, end in zip(spans, ends, strict=True)).strip()


@st.composite
def fences(draw: st.DrawFn) -> str:
    marker = draw(st.sampled_from(["```", "````", "~~~"]))
    language = draw(st.sampled_from(["", "py", "c++", "a language", "x" * 50]))
    lines = draw(st.lists(st.sampled_from(["w", "    w", "<w> & w", "", "# w", "- w", "w `w` w", "\tw"]), max_size=30))
    return "\n".join([marker + language, *lines, marker])


@st.composite
def tables(draw: st.DrawFn) -> str:
    columns = draw(st.integers(1, 4))
    cells = st.sampled_from(["w", "**w**", "`w`", "中w", ""])
    rows = draw(st.lists(st.lists(cells, min_size=columns, max_size=columns)))
    lines = [["w"] * columns, ["---"] * columns, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def indented(text: str, first: str, others: str) -> str:
    return first + text.replace("\n", "\n" + others).replace(f"\n{others}\n", "\n\n")


def inside(blocks: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(blocks, min_size=1, max_size=4)
    return (
        items.map(lambda found: "\n".join(indented(each, "- ", "  ") for each in found))
        | items.map(lambda found: "\n".join(indented(each, "10. ", "    ") for each in found))
        | items.map(lambda found: "\n\n".join(indented(each, "1. ", "   ") for each in found))
        | blocks.map(lambda found: "> " + found.replace("\n", "\n> "))
    )


def numbered(text: str) -> str:
    """With `w1z`, `w2z` and so on for each `w`: there are no others."""
    numbers = count(1)
    return re.sub("w", lambda _: f"w{next(numbers)}z", text)


leaves = paragraphs() | paragraphs(3).map(lambda text: "## " + text.replace("\n", " ")) | fences() | tables()
nested = st.recursive(leaves, inside, max_leaves=8)
documents = st.lists(nested, min_size=1, max_size=8).map("\n\n".join).map(numbered)
