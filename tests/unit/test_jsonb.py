"""What goes to Postgres as JSON or text. tests/db/test_jsonb.py asks Postgres itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from app.jsonb import dumps, storable
from tests.unit.json_values import any_json, any_text


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a\0b", "a\ufffdb"),
        ("ü😀", "ü😀"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("other half \ude00", "other half \ufffd"),
        ("\ud83d\ude00", "😀"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("😀\0", "😀\ufffd"),
    ],
)
def test_what_is_stored_of_a_text(text: str, stored: str) -> None:
    assert storable(text) == stored
    assert json.loads(dumps({text: [text]})) == {stored: [stored]}


@pytest.mark.parametrize("literal", ["\\u0000", "\\ud800", "\\\\u0000 \\\\ud83d"])
def test_text_that_looks_like_an_escape_is_kept(literal: str) -> None:
    assert json.loads(dumps(literal)) == literal


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_have_become_null(number: float) -> None:
    """json.loads reads them from a caller's body, and Postgres refuses them."""
    assert json.loads(dumps({"x": [number, 1.5, (number,)]})) == {"x": [None, 1.5, [None]]}


@given(any_text)
def test_stored_text_is_text_without_nul_and_of_the_same_length(text: str) -> None:
    stored = storable(text)
    stored.encode()
    assert "\0" not in stored
    # Two halves that stand side by side are one character.
    assert len(stored) == len(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


@given(any_json)
def test_what_is_dumped_is_json_and_stays_so(value: Any) -> None:
    encoded = dumps(value)
    encoded.encode("ascii")
    loaded = json.loads(encoded, parse_constant=pytest.fail)
    assert json.loads(dumps(loaded)) == loaded


@given(any_json.filter(lambda value: "\\u" not in json.dumps(value) and "N" not in json.dumps(value)))
def test_ordinary_values_are_kept(value: Any) -> None:
    assert json.loads(dumps(value)) == json.loads(json.dumps(value))
