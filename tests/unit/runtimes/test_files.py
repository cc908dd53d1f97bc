"""Files of a workspace folder, while someone else changes it."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import Refused
from app.runtimes.files import OUTPUTS_KEPT, Folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("outside")
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Folder:
    root = tmp_path / "root"
    root.mkdir()
    return Folder(root, "/workspace", 1000)


def race(change: Callable[[], None], use: Callable[[], object], times: int = 1500) -> list[object]:
    """Use the files while another thread changes them: what the uses gave, refusals included."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            change()

    changer = threading.Thread(target=go_on)
    changer.start()
    results: list[object] = []
    try:
        for _ in range(times):
            try:
                results.append(use())
            except Refused as refused:
                results.append(refused.message)
    finally:
        stop.set()
        changer.join()
    return results


def test_swapping_a_folder_for_a_link_while_it_is_used_gains_nothing(files: Folder, outside: Path) -> None:
    """A check of the path before its use would lose this race now and then."""
    files.write("inner/file", "inside")
    inner, aside, link = files.root / "inner", files.root / "aside", files.root / "link"
    link.symlink_to(outside)

    def swap() -> None:
        inner.rename(aside)
        link.rename(inner)
        inner.rename(link)
        aside.rename(inner)

    seen = race(swap, lambda: files.read("inner/file"))
    assert "inside" in seen
    assert "outside" not in seen


def test_swapping_a_file_for_a_link_while_it_is_used_gains_nothing(files: Folder, outside: Path) -> None:
    files.write("file", "inside")

    def swap() -> None:
        (files.root / "link").symlink_to(outside / "file")
        (files.root / "link").replace(files.root / "file")
        (files.root / "plain").write_text("inside")
        (files.root / "plain").replace(files.root / "file")

    def use() -> str:
        files.write("file", "inside")
        return files.read("file")

    seen = race(swap, use)
    assert "inside" in seen
    assert "outside" not in seen
    assert (outside / "file").read_text() == "outside"


def test_links_are_seen_as_commands_see_them(files: Folder) -> None:
    files.write("d/file", "x")
    (files.root / "absolute").symlink_to("/workspace/d")
    (files.root / "host").symlink_to(files.root / "d")
    assert files.read("absolute/file") == "x"
    with pytest.raises(Refused, match="leads out"):
        files.read("host/file")  # in the sandbox this path is not there


def test_the_workspace_may_not_be_a_link(files: Folder, outside: Path) -> None:
    files.root.rmdir()
    files.root.symlink_to(outside)
    with pytest.raises(Refused):
        files.read("file")


def test_a_workspace_that_is_gone_is_told(files: Folder) -> None:
    files.root.rmdir()
    with pytest.raises(Refused, match="the workspace folder is gone"):
        files.write("file", "x")


def test_no_descriptor_is_left_open(files: Folder) -> None:
    files.write("a/b/c", "x")
    (files.root / "loop").symlink_to("loop")
    before = len(os.listdir("/dev/fd"))
    for path in ("a/b/c", "a/b", ".", "a/../../x", "loop/x", "nothing/x", "a/b/c/d"):
        for use in (files.read, files.list, files.find, files.target, lambda p: files.write(p, "y")):
            try:
                use(path)
            except Refused:
                continue
    assert len(os.listdir("/dev/fd")) == before


def test_a_failed_write_leaves_the_old_file_and_no_draft(files: Folder) -> None:
    files.write("file", "old")
    (files.root / "file").chmod(0o640)
    with pytest.raises(Refused):
        files.write("file", "x" * 2000)
    files.write("file", "new")
    assert os.listdir(files.root) == ["file"]
    assert (files.root / "file").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_too_deep_is_not_entered(files: Folder) -> None:
    deep = files.root
    for _ in range(120):
        deep = deep / "d"
    deep.mkdir(parents=True)
    assert len(files.find("d")) == 100
    with pytest.raises(Refused, match="more than 100 folders"):
        files.list("/".join(["d"] * 110))


def test_outputs_are_numbered_and_the_old_ones_go(files: Folder) -> None:
    files.write(".output/notes.md", "mine")
    (files.root / ".output" / "3.txt").mkdir()
    for number in range(30):
        assert files.keep_output(io.BytesIO(b"x")) == f".output/{number + 4}.txt"
    kept = files.list(".output")
    assert "notes.md" in kept
    assert "3.txt/" in kept
    assert len(kept) <= OUTPUTS_KEPT + 2
    assert files.read(".output/33.txt") == "x"


def test_an_output_folder_that_leads_out_gets_nothing(files: Folder, outside: Path) -> None:
    (files.root / ".output").symlink_to(outside)
    with pytest.raises(Refused):
        files.keep_output(io.BytesIO(b"x"))
    assert os.listdir(outside) == ["file"]
