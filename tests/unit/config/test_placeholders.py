"""Filling in `${NAME}`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.placeholders import fill

VARIABLES = {"NAME": "value", "EMPTY": "", "ZEROS": "0123", "YES": "yes", "NESTED": "${NAME}", "DOLLARS": "a$b$$c"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${NAME}", "value"),
        ("a ${NAME} b", "a value b"),
        ("${NAME}${NAME}", "valuevalue"),
        ("${NAME:-other}", "value"),
        ("${NAME:other}", "value"),
        ("${NONE:-other}", "other"),
        ("${NONE:other}", "other"),
        ("${NONE:--5}", "-5"),
        ("${NONE:-a:b}", "a:b"),
        ("${NONE:-pass$word}", "pass$word"),
        ("${EMPTY:-other}", "other"),
        ("x${NONE:-}y", "xy"),
        ("$", "$"),
        ("pa$$word$1 $NAME $(x)", "pa$$word$1 $NAME $(x)"),
        ("$${NAME}", "$value"),
        ("${DOLLARS}", "a$b$$c"),
        ("${NESTED}", "${NAME}"),
    ],
)
def test_text_after_filling_in(text: str, value: str) -> None:
    filled = fill(text, VARIABLES.get)
    assert filled.value == value
    assert filled.problems == ()


@pytest.mark.parametrize("text", ["${ZEROS}", "${YES}"])
def test_a_password_that_looks_like_something_else_stays_text(text: str) -> None:
    assert fill(text, VARIABLES.get).value in ("0123", "yes")


@pytest.mark.parametrize("text", ["${NONE:-}", "${NONE:}", "${EMPTY:-}"])
def test_a_placeholder_that_comes_out_empty_is_no_value(text: str) -> None:
    assert fill(text, VARIABLES.get).value is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${NONE}", "${NONE} is not set; set NONE"),
        ("${EMPTY}", "${EMPTY} is not set"),
        ("${}", "starts no placeholder"),
        ("${ NAME }", "starts no placeholder"),
        ("${NAME", "starts no placeholder"),
        ("${NAME-other}", "starts no placeholder"),
        ("${1X}", "starts no placeholder"),
        ("${NONE:-${NAME}}", "inside a placeholder's default"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    (problem,) = fill(text, VARIABLES.get).problems
    assert words in problem


def test_every_missing_variable_is_told() -> None:
    filled = fill("${A}-${B}", VARIABLES.get)
    assert len(filled.problems) == 2
    assert filled.names == ("A", "B")


@given(st.text())
def test_text_without_a_placeholder_is_untouched(text: str) -> None:
    bare = text.replace("${", "$ {")
    assert fill(bare, VARIABLES.get).value == bare


@given(st.text(min_size=1), st.text(alphabet="abc $", max_size=5))
def test_what_comes_in_is_taken_as_it_stands(secret: str, around: str) -> None:
    around = around.replace("$", "§")
    assert fill(f"{around}${{X}}{around}", {"X": secret}.get).value == f"{around}{secret}{around}"
