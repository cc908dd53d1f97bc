from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.formatting import (
    DISCORD_MOST,
    SLACK_MOST,
    TELEGRAM_MOST,
    discord_markdown,
    slack_mrkdwn,
    split,
    telegram_html,
    telegram_length,
    utf16_length,
)
from app.adapters.formatting.inline import inline
from app.adapters.formatting.markdown import cleaned, parse, tokens_of
from app.adapters.formatting.nodes import Fence
from tests.unit.adapters.formatting.checks import unclosed
from tests.unit.adapters.formatting.corpus import CORPUS, DEEP
from tests.unit.adapters.formatting.generated import documents, noise

LENGTHS: dict[str, Callable[[str], int]] = {
    "source": len,
    "slack": lambda piece: utf16_length(slack_mrkdwn(piece)),
    "telegram": lambda piece: telegram_length(telegram_html(piece)),
    "discord": lambda piece: len(discord_markdown(piece)),
}
MOST = {"slack": SLACK_MOST, "telegram": TELEGRAM_MOST, "discord": DISCORD_MOST}


def fits(most: int, kind: str = "source") -> Callable[[str], bool]:
    return lambda piece: LENGTHS[kind](piece) <= most


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\n", "\x00\r\n"])
def test_there_are_no_pieces_of_nothing(text: str) -> None:
    assert split(text, lambda piece: True) == []


def test_what_fits_stays_as_it_is() -> None:
    text = "    indented\n\n# Title\n\n- a\n  - b"
    assert split(text + "\n\n", fits(100)) == [text]


@pytest.mark.parametrize(
    ("text", "most", "pieces"),
    [
        ("aaa aaa\n\nbbb bbb\nbbb\n\nccc", 22, ["aaa aaa\n\nbbb bbb\nbbb", "ccc"]),
        ("aaa aaa\nbbb bbb\nccc", 16, ["aaa aaa\nbbb bbb", "ccc"]),
        ("aaa aaa bbb bbb ccc", 16, ["aaa aaa bbb bbb", "ccc"]),
        ("aaaabbbbcc", 4, ["aaaa", "bbbb", "cc"]),
        ("> aaa aaa\n>\n> bbb bbb\n> bbb", 26, ["> aaa aaa\n>", "> bbb bbb\n> bbb"]),
        # A short piece is worse than a cut paragraph.
        ("a\n\nbbb bbb bbb bbb\nbbb", 16, ["a\n\nbbb bbb bbb", "bbb\nbbb"]),
        # A heading goes with what follows it.
        ("aaa aaa\n\n# bbb\n\nccc ccc", 18, ["aaa aaa", "# bbb\n\nccc ccc"]),
        ("aaa aaa\n# bbb\nccc ccc", 18, ["aaa aaa", "# bbb\nccc ccc"]),
        ("aaa aaa\n\nbbb\n---\nccc ccc", 17, ["aaa aaa", "bbb\n---\nccc ccc"]),
        # What would mean something else at the beginning of a line.
        ("aaa aaa # bbb", 8, ["aaa", "aaa #", "bbb"]),
        ("aaa aaa 12. bbb", 10, ["aaa", "aaa 12.", "bbb"]),
        # Lists move to the border.
        ("- aaa\n    - bbb\n    - ccc\n- ddd", 16, ["- aaa\n    - bbb", "- ccc\n- ddd"]),
        # Code is closed and opened again.
        ("```py\naaa\n  bbb\n```", 17, ["```py\naaa\n```", "```py\n  bbb\n```"]),
        ("````\na\n\n```\n````\nb", 15, ["````\na\n````", "````\n```\n````\nb"]),
        ("~~~\naaaabbbb\n~~~", 12, ["~~~\naaaa\n~~~", "~~~\nbbbb\n~~~"]),
        ("> ```\n> aaaabbbb\n> ```", 18, ["> ```\n> aaaa\n> ```", "> ```\n> bbbb\n> ```"]),
        ("- ```\n  aaaabbbb\n  ```", 18, ["- ```\n  aaaa\n  ```", "```\nbbbb\n```"]),
        ("```\naaa\n``````", 11, ["```\naaa\n```"]),
        ("a\n```python title\nb\n```", 21, ["a", "```python title\nb\n```"]),
        ("```py\naaa\nbbb", 13, ["```py\naaa\n```", "```py\nbbb\n```"]),
        ("> ```py\n> aaa\n> bbb\n> ```\n> c", 22, ["> ```py\n> aaa\n> ```", "> ```py\n> bbb\n> ```", "> c"]),
        (
            "- a\n  - ```py\n    aaa\n      bbb\n    ```\n    c",
            29,
            ["- a\n  - ```py\n    aaa\n    ```", "```py\n  bbb\n```\nc"],
        ),
        ("- > ```py\n  > aaa\n  > bbb\n  > ```", 28, ["- > ```py\n  > aaa\n  > ```", "  > ```py\n  > bbb\n  > ```"]),
        # Better before the code than in it.
        ("aaa aaa\n```\nb\nc\n```", 18, ["aaa aaa", "```\nb\nc\n```"]),
        # Not even one character fits in its fence.
        ("```py\nab\n```", 8, ["```py", "a", "b"]),
    ],
)
def test_where_it_is_cut(text: str, most: int, pieces: list[str]) -> None:
    assert split(text, fits(most)) == pieces


def test_a_fence_that_is_all_opening_is_text() -> None:
    pieces = split("```" + "x" * 3000 + "\n" + "code\n" * 100 + "```", fits(500))
    assert len(pieces) < 15


def test_pieces_may_be_very_long() -> None:
    assert [len(piece) for piece in split("aaa bbb\n" * 6000, fits(30_000))] == [29_999, 17_999]


@pytest.mark.parametrize(
    "whole",
    ["🚀", "👩🏽‍🚀", "👨‍👩‍👧‍👦", "🇨🇭", "❤️", "👍🏿", "e\u0301\u0327", "क्षि", "\\*"],
)
@pytest.mark.parametrize("most", [11, 12, 13, 14, 15, 16, 17, 18, 19])
def test_no_character_is_cut(whole: str, most: int) -> None:
    pieces = split("x" + whole * 20, fits(most))
    assert len(pieces) > 1
    for piece in pieces:
        assert piece.removeprefix("x") == whole * piece.count(whole)


def test_a_character_that_is_too_much_is_cut_after_all() -> None:
    family = "👨‍👩‍👧‍👦"
    assert split(family, fits(3)) == [family[:3], family[3:6], family[6:]]
    fenced = split(f"```\n{family}\n```", fits(3))
    assert ("".join(fenced), max(map(len, fenced))) == (f"```{family}", 3)
    assert split("ab", lambda piece: False) == ["a", "b"]


def test_long_code_stays_code_in_each_piece() -> None:
    code = [f"{'    ' * (number % 4)}call_{number}(x)" for number in range(400)]
    pieces = split("Here:\n\n```py\n" + "\n".join(code) + "\n```\n\nDone.", fits(500))
    blocks = [[block for block in parse(piece) if isinstance(block, Fence)] for piece in pieces]
    assert "\n".join(block.code for found in blocks for block in found).split("\n") == code
    assert {block.language for found in blocks for block in found} == {"py"}
    assert len(pieces) > 10


def test_what_is_after_nested_code_is_no_code() -> None:
    item = "- a\n    - b\n\n      ```js\n      let x\n      ```\n\n    - c"
    for most in range(45, 200):
        for piece in split("\n".join([item] * 4) + "\n\nafter", fits(most)):
            assert all(token.content.strip() == "let x" for token in tokens_of(piece) if token.type == "fence")
            assert not [token for token in tokens_of(piece) if token.type == "code_block"]


# --- any text


@given(documents, st.integers(120, 400), st.sampled_from(sorted(LENGTHS)))
def test_documents(source: str, most: int, kind: str) -> None:
    pieces = split(source, fits(most, kind))
    assert all(fits(most, kind)(piece) for piece in pieces)
    assert all(unclosed(piece) == [] for piece in pieces)
    assert is_made_of(cleaned(source), pieces)
    inline.cache_clear()
    assert split(source, fits(most, kind)) == pieces


@given(noise, st.integers(1, 100), st.sampled_from(sorted(LENGTHS)))
def test_noise(source: str, most: int, kind: str) -> None:
    pieces = split(source, fits(most, kind))
    assert all(fits(most, kind)(piece) or len(piece) == 1 for piece in pieces)
    assert is_made_of(cleaned(source), pieces)


@given(documents, st.integers(1, 60))
def test_whatever_fits(source: str, seed: int) -> None:
    """Even if longer texts fit where shorter ones do not."""
    pieces = split(source, lambda piece: len(piece) <= 60 and (len(piece) * seed) % 7 != 3)
    assert all(len(piece) == 1 or (len(piece) <= 60 and (len(piece) * seed) % 7 != 3) for piece in pieces)
    assert is_made_of(cleaned(source), pieces)


def is_made_of(source: str, pieces: list[str]) -> bool:
    """All of the text is in the pieces, and besides it only lines that open and close fences."""
    places = {0}
    source = without_space(source)
    for piece in pieces:
        versions = {without_space(version) for version in without_fences(piece)}
        places = {place + len(version) for place in places for version in versions if source.startswith(version, place)}
        # The end of a fence that is cut right before it is that of the piece.
        places |= {place + len(end[0]) for place in places if (end := re.match(r">*(```+|~~~+)", source[place:]))}
    return len(source) in places


def without_fences(piece: str) -> list[str]:
    """The piece, without what may have been added: the lines of fences, and the quote marks of a line that was cut."""
    rows, fence = piece.split("\n"), re.compile(r"([ >]*)(```+|~~~+)")
    found = [rows]
    if opening := fence.match(rows[0]):
        found += [rows[1:], [row.removeprefix(opening[1]) for row in rows[1:2]] + rows[2:]]
    if fence.match(rows[-1]):
        found += [each[:-1] for each in found]
    return ["\n".join(each) for each in found]


def without_space(text: str) -> str:
    return "".join(text.split())


# --- real lengths


@pytest.mark.parametrize("kind", MOST)
@pytest.mark.parametrize("text", [*CORPUS.values(), *DEEP.values()], ids=[*CORPUS, *(f"deep {name}" for name in DEEP)])
def test_the_corpus_fits(text: str, kind: str) -> None:
    started = time.process_time()
    pieces = split(text, fits(MOST[kind], kind))
    assert time.process_time() - started < 3
    assert all(fits(MOST[kind], kind)(piece) for piece in pieces)
    assert len(pieces) <= 2 + 3 * LENGTHS[kind](text) // MOST[kind]


@pytest.mark.parametrize("kind", MOST)
@pytest.mark.parametrize(
    "text",
    [
        (CORPUS["long"] + "\n\n" + CORPUS["fences in lists"] + "\n\n" + CORPUS["code"] + "\n\n") * 8,
        CORPUS["long"].replace("\n", " ") * 8,
        "中文字" * 66_000,
        "```py\n" + "    call(x)\n" * 16_000 + "```",
    ],
    ids=["answer", "one line", "one word", "code"],
)
def test_a_very_long_text_is_split_at_once(text: str, kind: str) -> None:
    assert len(text) > 150_000
    inline.cache_clear()
    started = time.process_time()
    pieces = split(text, fits(MOST[kind], kind))
    assert time.process_time() - started < 3
    assert all(fits(MOST[kind], kind)(piece) for piece in pieces)
    assert sum(map(len, pieces)) / len(pieces) > MOST[kind] / 2
