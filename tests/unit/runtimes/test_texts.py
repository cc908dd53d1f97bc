"""Paths, lines and replacements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Refused
from app.runtimes.texts import lines_of, parts_of, replaced, text_of


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", []),
        (".", []),
        ("a/./b//c/", ["a", "b", "c"]),
        ("/space", []),
        ("/space/", []),
        ("/space/a", ["a"]),
        ("a/../b", ["a", "..", "b"]),
        ("~", ["~"]),
    ],
)
def test_a_path_is_walked_name_by_name(path: str, parts: list[str]) -> None:
    assert parts_of(path, "/space") == parts


@pytest.mark.parametrize("path", ["/", "/spaceship", "/etc/passwd", "a\0b", "\ud800", "x" * 5000, "a/" * 200])
def test_what_is_no_path_of_the_workspace_is_refused(path: str) -> None:
    with pytest.raises(Refused):
        parts_of(path, "/space")


@given(st.text(alphabet="a\n\r\u2028", max_size=30), st.integers(0, 12), st.none() | st.integers(0, 12))
def test_lines_are_counted_by_newlines_only(text: str, offset: int, limit: int | None) -> None:
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    assert lines_of(text, offset, limit) == "".join(lines[offset : None if limit is None else offset + limit])


def test_only_what_was_named_is_replaced() -> None:
    assert replaced("é old \r\n".encode() + b"\xff", "old", "new", "f") == "é new \r\n".encode() + b"\xff"


@pytest.mark.parametrize("old", ["", "no", "aa", "\ud800"])
def test_a_place_that_is_not_clear_is_refused(old: str) -> None:
    with pytest.raises(Refused):
        replaced(b"aaa b b", old, "x", "f")


def test_bytes_are_no_text() -> None:
    with pytest.raises(Refused, match=r"picture\.png is not a text file"):
        text_of(b"\x89PNG\0", "picture.png")
