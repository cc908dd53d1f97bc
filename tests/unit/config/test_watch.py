"""An edit of heyfleet.yaml is taken up, a broken one is refused, and what needs a restart stays as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.config.load import load
from app.config.watch import LiveSettings

MakeLive = Callable[[str], LiveSettings]


class Clock:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "heyfleet.yaml"


@pytest.fixture
def live(file: Path, clock: Clock) -> MakeLive:
    def make(text: str) -> LiveSettings:
        file.write_text(text)
        return LiveSettings(load(file, {}), lambda: load(file, {}), clock)

    return make


def edit(file: Path, text: str) -> None:
    """Write the file so that its time differs whatever the file system's resolution is."""
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(before + 10**9, before + 10**9))


def test_an_edit_is_taken_up_at_the_next_look(live: MakeLive, file: Path, clock: Clock) -> None:
    settings = live("task: {max_steps: 5}")
    edit(file, "task: {max_steps: 7}")
    assert settings.get().task.max_steps == 5, "looked at most once a second"
    clock.time += 1.1
    assert settings.get().task.max_steps == 7


def test_a_broken_edit_is_refused_and_a_mended_one_taken(live: MakeLive, file: Path, clock: Clock) -> None:
    settings = live("task: {max_steps: 5}")
    edit(file, "task: {max_stepz: 7}")
    clock.time += 1.1
    assert settings.get().task.max_steps == 5
    edit(file, "task: {max_steps: 9}")
    clock.time += 1.1
    assert settings.get().task.max_steps == 9


def test_what_needs_a_restart_stays(live: MakeLive, file: Path, clock: Clock) -> None:
    settings = live("http: {port: 8000}\ntask: {max_steps: 5}")
    edit(file, "http: {port: 9000}\ntask: {max_steps: 6}")
    clock.time += 1.1
    assert settings.get().task.max_steps == 6
    assert settings.get().http.port == 8000


def test_without_watch_only_a_reload_looks(live: MakeLive, file: Path, clock: Clock) -> None:
    settings = live("watch: false\ntask: {max_steps: 5}")
    edit(file, "watch: false\ntask: {max_steps: 6}")
    clock.time += 100
    assert settings.get().task.max_steps == 5
    settings.reload()
    assert settings.get().task.max_steps == 6
