from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.services.private import kept_password, open_log, private_folder, read_own, write_private


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def generous_umask() -> None:
    os.umask(0o022)


def test_a_folder_is_made_private_and_an_existing_one_left_alone(tmp_path: Path) -> None:
    private_folder(tmp_path / "above" / "state")
    assert mode(tmp_path / "above" / "state") == 0o700
    open_one = tmp_path / "open"
    open_one.mkdir(mode=0o755)
    private_folder(open_one)
    assert mode(open_one) == 0o755


def test_a_file_is_private_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "services.json"
    write_private(path, "old")
    with path.open() as reader:
        write_private(path, "new")
        assert reader.read() == "old"
    assert read_own(path) == "new"
    assert mode(path) == 0o600
    assert [left.name for left in tmp_path.iterdir()] == ["services.json"]


def test_nothing_is_left_of_a_write_that_failed(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path / "taken", "text")
    assert [left.name for left in tmp_path.iterdir()] == ["taken"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_roots_files_belong_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)
    write_private(tmp_path / "file", "text")
    os.close(open_log(tmp_path / "log"))
    assert {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()} == {(4711, 4712)}


def test_a_password_is_made_once(tmp_path: Path) -> None:
    made = kept_password(tmp_path / "password", None)
    assert len(made) > 40
    assert kept_password(tmp_path / "password", None) == made
    assert kept_password(tmp_path / "other", None) != made
    assert mode(tmp_path / "password") == 0o600


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "password").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        kept_password(tmp_path / "password", None)
    with pytest.raises(OSError, match="symbolic links"):
        open_log(tmp_path / "password")


def test_a_log_that_has_grown_too_long_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "postgres.log"
    for text in (b"first\n", b"second\n", b"third\n"):
        descriptor = open_log(path, keep_bytes=10)
        os.write(descriptor, text)
        os.close(descriptor)
    assert path.read_bytes() == b"third\n"
    assert (tmp_path / "postgres.log.1").read_bytes() == b"first\nsecond\n"
    assert mode(path) == 0o600
