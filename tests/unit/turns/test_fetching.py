"""Files that came with a message: how often they are asked for, and which of them are pictures."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import Permanent, Transient
from app.turns.fetching import SHOWN, fetched
from tests.db.doubles import NoteAdapter

FILE = {"id": "f", "name": "a", "media_type": "text/plain", "size": 3, "source": {"id": "f"}}


class Waits:
    """A `Cancel` that notes how long it was waited for; set after so many waits."""

    def __init__(self, most: int = 100) -> None:
        self.waits: list[float] = []
        self.most = most

    def is_set(self) -> bool:
        return len(self.waits) >= self.most

    def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        return self.is_set()


def having(*answers: Any) -> NoteAdapter:
    adapter = NoteAdapter()
    adapter.has = {"f": list(answers)}
    return adapter


def test_what_can_t_be_had_for_a_moment_is_asked_for_again_a_while_later() -> None:
    cancel = Waits()
    away = Transient("the connection broke")
    assert fetched(having(away, away, Transient("429", retry_after=9.0), b"abc"), FILE, 10, cancel) == (b"abc", None)
    assert cancel.waits == [0.5, 1.0, 9.0]


def test_in_the_end_the_model_is_told_why() -> None:
    cancel = Waits()
    adapter = having(*[Transient("away", retry_after=1000.0)] * 5)
    assert fetched(adapter, FILE, 10, cancel) == (None, "away")
    assert cancel.waits == [20.0] * 4


def test_what_is_not_to_be_had_is_asked_for_once() -> None:
    cancel = Waits()
    assert fetched(having(Permanent("gone")), FILE, 10, cancel) == (None, "gone")
    assert fetched(having(), {**FILE, "size": 11}, 10, cancel) == (None, "it is larger than 10 bytes")
    assert cancel.waits == []


def test_nobody_waits_for_what_is_not_wanted_any_more() -> None:
    assert fetched(having(Transient("away"), b"abc"), FILE, 10, Waits(1)) is None


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0...", "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"RIFF\x00\n\x00\x00WEBPVP8 ", "image/webp"),
        (b"<svg/>", None),
        (b"", None),
    ],
)
def test_a_picture_is_known_by_how_it_begins(content: bytes, kind: str | None) -> None:
    assert [known for known, beginning in SHOWN if beginning.match(content)] == ([kind] if kind else [])
