"""The workspace: which rule failed when it can't be made, and one id for all who share it."""

from __future__ import annotations

import errno
import threading
import uuid
from pathlib import Path

import pytest

from app.errors import HeyfleetError, Permanent, Transient
from app.runtimes.workspace import IDENTITY, make_folder, not_made, workspace_id


def test_a_folder_is_made_with_its_parents_for_this_user_only(tmp_path: Path) -> None:
    made = make_folder(tmp_path / "a" / "b")
    assert made.is_dir()
    assert made.stat().st_mode & 0o777 == 0o700
    assert make_folder(tmp_path / "a" / "b") == made


@pytest.mark.parametrize("below", ["file", "file/folder", "file/folder/deeper"])
def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent) as refused:
        make_folder(tmp_path / below)
    assert f"a file is in the way at {tmp_path / 'file'};" in refused.value.message


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (errno.EACCES, Permanent, "permission denied in"),
        (errno.EROFS, Permanent, "read-only"),
        (errno.ENOSPC, Transient, "disk is full"),
        (errno.EDQUOT, Transient, "disk is full"),
        (errno.EIO, Permanent, "the reason"),
    ],
)
def test_each_rule_that_may_fail_has_its_words(tmp_path: Path, code: int, kind: type[HeyfleetError], says: str) -> None:
    error = not_made(tmp_path / "x", OSError(code, "the reason"))
    assert isinstance(error, kind)
    assert says in error.message
    assert str(tmp_path / "x") in error.message


def test_a_read_only_file_system_is_told() -> None:
    with pytest.raises(HeyfleetError):
        make_folder(Path("/proc/heyfleet"))


def test_the_id_is_made_once_however_many_ask(tmp_path: Path) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(workspace_id(tmp_path / "w"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 20
    assert len(set(ids)) == 1
    assert str(uuid.UUID(ids[0])) == ids[0]
    assert [path.name for path in (tmp_path / "w").iterdir()] == [IDENTITY]


def test_two_workspaces_have_two_ids(tmp_path: Path) -> None:
    assert workspace_id(tmp_path / "a") != workspace_id(tmp_path / "b")


def test_a_file_that_holds_no_id_is_told(tmp_path: Path) -> None:
    (tmp_path / IDENTITY).write_text("hello")
    with pytest.raises(Permanent, match="remove it"):
        workspace_id(tmp_path)
