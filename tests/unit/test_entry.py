"""What a chat's files are called in a sandbox."""

from __future__ import annotations

import pytest

from app.entry import MOST_FILES, named
from app.traffic import Said, Sender


def said(*names: str, event_key: str = "message 1700000000.123456") -> Said:
    files = [{"name": name, "media_type": "application/octet-stream", "size": 1, "source": {}} for name in names]
    return Said(Sender("U1"), "C1", "hi", event_key, "C1", {}, files=files)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["report.pdf"], ["report.pdf"]),
        (["../../etc/passwd"], ["passwd"]),
        (["a.txt", "a.txt", "a.txt"], ["a.txt", "2-a.txt", "3-a.txt"]),
        (["image.png", "image.png"], ["image-123456.png", "2-image-123456.png"]),
        (["...", ""], ["file-123456", "2-file-123456"]),
        (["x" * 300 + ".tar.gz"], ["x" * 93 + ".tar.gz"]),
        (["3-a.txt", "a.txt", "a.txt"], ["3-a.txt", "a.txt", "3-3-a.txt"]),
    ],
)
def test_each_file_has_a_name_of_its_own_that_is_safe(names: list[str], found: list[str]) -> None:
    assert [file["name"] for file in named(said(*names))] == found


def test_pasted_pictures_of_two_messages_do_not_overwrite_each_other() -> None:
    (first,), (second,) = named(said("image.png")), named(said("image.png", event_key="message 1700000000.654321"))
    assert first["name"] != second["name"]


def test_what_kind_of_file_it_is_is_told_by_its_name_where_the_provider_does_not() -> None:
    assert [file["media_type"] for file in named(said("a.png", "a.unknown"))] == [
        "image/png",
        "application/octet-stream",
    ]


def test_a_message_has_so_many_files_at_most() -> None:
    assert len(named(said(*[f"{n}.txt" for n in range(100)]))) == MOST_FILES
