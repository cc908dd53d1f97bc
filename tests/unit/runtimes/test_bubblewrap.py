"""bwrap's arguments, and the cure for what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.runtimes.bubblewrap import arguments, cure


def test_the_network_is_shared_only_where_the_settings_say_so() -> None:
    apart = arguments(Path("/w"), Path("/t"), network=False)
    shared = arguments(Path("/w"), Path("/t"), network=True)
    assert "--unshare-net" in apart
    assert "--unshare-net" not in shared
    assert "/etc/resolv.conf" in shared
    assert "/etc/resolv.conf" not in apart


def test_only_the_workspace_and_its_temporary_folder_are_writable() -> None:
    words = arguments(Path("/w"), Path("/t"), network=False)
    bound = [(words[at + 1], words[at + 2]) for at, word in enumerate(words) if word == "--bind"]
    assert bound == [("/t", "/tmp"), ("/t", "/dev/shm"), ("/w", "/workspace")]


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("bwrap: No permissions to create new namespace, likely because …", "kernel.unprivileged_userns_clone=1"),
        ("bwrap: setting up uid map: Permission denied", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "AppArmor profile"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths=unconfined"),
        ("bwrap: something new", "use runtime virtual"),
    ],
)
def test_each_complaint_has_its_cure(said: str, advice: str) -> None:
    assert said in cure(said)
    assert advice in cure(said)
