"""Runtimes by name, our own and other people's."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.settings import Runtime as RuntimeSettings
from app.errors import Permanent
from app.runtimes.registry import open_runtimes
from app.runtimes.virtual import VirtualRuntime

THIRD_PARTY = """
class Working:
    name, portable = "working", True
    def __init__(self, settings): self.settings = settings
    def available(self): return None

class Broken(Working):
    def available(self): return "it needs a moon; wait for one"
"""
ENTRY_POINTS = """
[heyfleet.runtimes]
working = third_party_runtimes:Working
broken = third_party_runtimes:Broken
missing = no_such_module:Runtime
virtual = third_party_runtimes:Broken
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_party_runtimes.py").write_text(THIRD_PARTY)
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_third_partys_runtime_is_opened_with_the_settings(third_party: None) -> None:
    settings = RuntimeSettings(timeout=7.0)
    runtime = open_runtimes(["working"], settings)["working"]
    assert vars(runtime) == {"settings": settings}


def test_a_built_in_name_can_not_be_taken_over(third_party: None) -> None:
    assert isinstance(open_runtimes(["virtual"], RuntimeSettings())["virtual"], VirtualRuntime)


def test_every_problem_is_told_at_once_with_its_cure(third_party: None) -> None:
    with pytest.raises(Permanent) as refused:
        open_runtimes(["broken", "unknown", "working", "missing"], RuntimeSettings())
    said = refused.value.message
    assert "runtime broken can't run here: it needs a moon; wait for one" in said
    assert "runtime unknown: there is no such runtime" in said
    assert "bubblewrap, guarded, host, missing, virtual, working" in said.replace("broken, ", "")
    assert "runtime missing: No module named 'no_such_module'" in said
    assert "runtime working" not in said
