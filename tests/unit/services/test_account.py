from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from app.services.account import Account, account_for, nobody

DAEMON = pwd.getpwnam("daemon")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.mark.skipif(os.geteuid() == 0, reason="about everybody but root")
def test_servers_run_as_whoever_started_them(tmp_path: Path) -> None:
    assert account_for(tmp_path / "postgres") is None


@needs_root
def test_roots_servers_run_as_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert account_for(tmp_path / "postgres") == nobody()
    assert nobody().uid != 0


@needs_root
def test_or_as_who_called_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(DAEMON.pw_uid))
    assert account_for(tmp_path / "postgres") == Account("daemon", DAEMON.pw_uid, DAEMON.pw_gid)


@needs_root
def test_or_as_the_owner_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    os.chown(tmp_path, DAEMON.pw_uid, 0)
    assert account_for(tmp_path / "postgres") == Account("daemon", DAEMON.pw_uid, DAEMON.pw_gid)
    data = tmp_path / "postgres"
    data.mkdir()
    os.chown(data, 4711, 4712)
    assert account_for(data) == Account("user 4711", 4711, 4712)


@needs_root
def test_a_user_whom_the_machine_does_not_know_is_of_no_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A container with a folder of its host's in it. initdb wants to know a name.
    monkeypatch.setenv("SUDO_UID", "4711")
    os.chown(tmp_path, 4711, 4711)
    assert account_for(tmp_path / "postgres") == nobody()


@needs_root
def test_the_kernel_says_what_an_account_can_reach(tmp_path: Path) -> None:
    # pytest's own folders are 0700.
    assert not nobody().can_enter(tmp_path)
    assert nobody().can_enter(Path("/"))
    assert nobody().can_execute(Path("/bin/sh"))
    assert not nobody().can_execute(Path("/etc/passwd"))
