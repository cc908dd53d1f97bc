"""Durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.units import byte_count, seconds, show_duration


@pytest.mark.parametrize(
    ("text", "value"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1d", 86400), ("250ms", 0.25), ("1.5h", 5400), (" 2s ", 2), ("0s", 0)],
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "s", "5 m", "1h 30m", "-5s", "5x", "1e3s", "5m!"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write it as"):
        seconds(text)


@pytest.mark.parametrize("value", [5, 0.5, None, True])
def test_what_is_no_text_is_left_to_the_type(value: object) -> None:
    assert seconds(value) is value
    assert byte_count(value) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [("25MB", 25_000_000), ("64KiB", 65536), ("1.5GB", 1_500_000_000), ("10 kb", 10_000), ("7", 7), ("7B", 7)],
)
def test_sizes(text: str, value: int) -> None:
    assert byte_count(text) == value


@pytest.mark.parametrize("text", ["", "MB", "5 XB", "-5MB", "5MBB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size: write it as"):
        byte_count(text)


@given(st.integers(min_value=0, max_value=999_999))
def test_shown_seconds_are_read_back(value: int) -> None:
    assert seconds(show_duration(float(value))) == value


@given(st.integers(min_value=0, max_value=999_999))
def test_shown_milliseconds_are_read_back(value: int) -> None:
    assert seconds(show_duration(value / 1000)) == pytest.approx(value / 1000)
