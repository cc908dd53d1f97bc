from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import Permanent
from app.services.account import nobody
from app.services.place import NOTE, OWNER, check_ours, copy_programs, reachable_program, servers_folder

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """pytest's own folders are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="heyfleet-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="about everybody but root")
def test_data_is_in_state_dir(tmp_path: Path) -> None:
    assert servers_folder(tmp_path / "state") == tmp_path / "state"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@needs_root
def test_roots_data_is_in_a_state_dir_that_its_user_can_enter(open_folder: Path) -> None:
    state_dir = open_folder / "state"
    state_dir.mkdir(mode=0o700)
    os.chown(state_dir, nobody().uid, nobody().gid)
    assert servers_folder(state_dir) == state_dir
    assert list(state_dir.iterdir()) == []


@needs_root
def test_else_in_a_folder_of_the_systems_that_is_found_again(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        folder = servers_folder(tmp_path / "state")
    finally:
        os.umask(old)
    try:
        assert nobody().can_enter(folder)
        assert folder.stat().st_uid == 0
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
        assert servers_folder(tmp_path / "state") == folder
        assert servers_folder(tmp_path / "state") == folder
    finally:
        shutil.rmtree(folder)
    with pytest.raises(Permanent, match=f"{NOTE} says that the databases are in {folder}, and that is gone"):
        servers_folder(tmp_path / "state")


@needs_root
def test_another_users_folder_is_not_worked_in(tmp_path: Path) -> None:
    state_dir, folder = tmp_path / "state", tmp_path / "planted"
    for path in (state_dir, folder):
        path.mkdir()
    (state_dir / NOTE).write_text(str(folder))
    (folder / OWNER).write_text(str(state_dir))
    assert servers_folder(state_dir) == folder
    os.chown(folder, 4711, 4711)
    with pytest.raises(Permanent, match="only root can write to"):
        servers_folder(state_dir)
    os.chown(folder, 0, 0)
    folder.chmod(0o777)
    with pytest.raises(Permanent, match="only root can write to"):
        check_ours(folder)
    folder.chmod(0o755)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(Permanent, match="only root can write to"):
        check_ours(tmp_path / "link")


def test_a_program_that_can_be_reached_is_not_copied() -> None:
    shell = Path("/bin/sh")
    assert reachable_program(shell, None, [shell], Path("/bin")) == shell
    if os.geteuid() == 0:
        assert reachable_program(shell, nobody(), [shell], Path("/bin")) == shell


def test_a_copy_is_whole_and_everybody_can_run_it(tmp_path: Path) -> None:
    source = tmp_path / "packages"
    (source / "bin").mkdir(parents=True, mode=0o700)
    (source / "bin" / "program").write_text("#!/bin/sh\necho ran")
    (source / "bin" / "program").chmod(0o700)
    (source / "bin" / "link").symlink_to("program")
    (source / "single").write_text("one file")
    parts = [source / "bin", source / "single"]
    old = os.umask(0o077)
    try:
        copy_programs(parts, source, tmp_path / "copy")
        # Another start copied them at the same moment: its copy stays.
        (tmp_path / "copy" / "theirs").touch()
        copy_programs(parts, source, tmp_path / "copy")
    finally:
        os.umask(old)
    copied = sorted(path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*"))
    assert copied == ["bin", "bin/link", "bin/program", "single", "theirs"]
    for path in (tmp_path / "copy", tmp_path / "copy" / "bin", tmp_path / "copy" / "bin" / "program"):
        assert path.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "packages"]


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        copy_programs([tmp_path / "missing"], tmp_path, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []
