"""Cutting output: both ends stay, within the limits, and the note tells the truth."""

from __future__ import annotations

import re
from typing import IO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.runtimes.limits import Capture, OutputLimits

LIMITS = OutputLimits(max_bytes=1000, max_lines=20, whole_bytes=5000)


def captured(data: bytes, limits: OutputLimits = LIMITS, chunk: int = 700) -> tuple[str, list[bytes]]:
    stored: list[bytes] = []

    def store(whole: IO[bytes]) -> str:
        stored.append(whole.read())
        return ".output/1.txt"

    with Capture(limits) as capture:
        for start in range(0, len(data), chunk):
            capture.feed(data[start : start + chunk])
        return capture.text(store), stored


@pytest.mark.parametrize("data", [b"", b"one", b"one\n" * 20, b"x" * 1000, "é".encode() * 500])
def test_what_fits_is_shown_as_it_is_and_no_file_is_made(data: bytes) -> None:
    assert captured(data) == (data.decode(), [])


@pytest.mark.parametrize(
    "data", [b"x\n" * 21, b"x" * 1001, b"\xff" * 600], ids=["too many lines", "too many bytes", "too many once shown"]
)
def test_what_does_not_fit_is_kept_whole_in_a_file(data: bytes) -> None:
    text, stored = captured(data)
    assert stored == [data]
    assert "all of it is in .output/1.txt" in text


def test_lines_are_not_torn_where_lines_are_what_is_too_much() -> None:
    text, _ = captured(b"".join(b"line %d\n" % number for number in range(1, 101)))
    lines = text.splitlines()
    assert lines[:9] == [f"line {number}" for number in range(1, 10)]
    assert lines[9].startswith("[… ")
    assert "about 82 lines" in lines[9]
    assert lines[10:] == [f"line {number}" for number in range(92, 101)]


def test_more_than_is_kept_is_told() -> None:
    text, stored = captured(b"0123456789" * 1000)
    assert stored == [b"0123456789" * 500]
    assert "its first 5000 bytes are in .output/1.txt" in text
    assert text.endswith("0123456789")


def test_a_file_that_could_not_be_made_is_told() -> None:
    capture = Capture(LIMITS)
    capture.feed(b"x" * 2000)
    assert "could not be kept in a file" in capture.text(lambda _whole: "")


def test_feeding_says_when_more_came_than_is_kept() -> None:
    capture = Capture(LIMITS)
    assert not capture.feed(b"x" * 5000)
    assert capture.feed(b"x")


RUNS = st.tuples(
    st.sampled_from([b"a", b"\n", "é".encode(), "🚀".encode(), b"\xff", b"\x00", b"line\n"]), st.integers(1, 500)
)


@given(st.lists(RUNS, max_size=8), st.integers(400, 2000), st.integers(10, 60))
@example([(b"\xff", 300)], 400, 10)
@example([(b"a", 101), ("🚀".encode(), 300)], 400, 10)
def test_any_output_stays_within_its_limits_and_its_ends_are_true(
    parts: list[tuple[bytes, int]], most: int, lines: int
) -> None:
    data = b"".join(piece * times for piece, times in parts)
    text, stored = captured(data, OutputLimits(most, lines, 100_000))
    assert len(text.encode()) <= most
    assert len(text.split("\n")) <= lines + 1
    whole = data.decode("utf-8", "replace").replace("\0", "\ufffd")
    if not stored:
        assert text == whole
        return
    note = re.search(r"\n?\[… (\d+) bytes, about \d+ lines, left out here; all of it is in .*? …\]\n", text)
    assert note
    above, below = text[: note.start()], text[note.end() :]
    assert whole.startswith(above)
    assert whole.endswith(below)
    assert len(above) + len(below) < len(whole)


def test_memory_is_bounded() -> None:
    capture = Capture(OutputLimits(1000, 20, 5000))
    for _ in range(1000):
        capture.feed(b"x" * 100_000)
    assert len(capture._end) <= 104_000  # four times what is shown, and one chunk
