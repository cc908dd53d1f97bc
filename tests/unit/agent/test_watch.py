"""Edits of a folder are taken up, broken ones are refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.agent.folder import AgentSettings, AgentSpec, load_agent
from app.agent.watch import LOOK_EVERY, LiveAgents
from app.config.settings import Agent, Settings
from app.errors import ConfigError, Refused
from tests.unit.agent.conftest import Files


class Clock:
    """Time that goes on when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Loads:
    """Loads agents, counts how often, and waits at `gate` while it is shut."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, agent_id: str, settings: AgentSettings) -> AgentSpec:
        self.count += 1
        self.entered.set()
        assert self.gate.wait(30)
        return load_agent(agent_id, settings)


def fleet(folder: Path, *, watch: bool = True) -> tuple[LiveAgents, Clock, Loads]:
    clock, loads = Clock(), Loads()
    settings = Settings(agents={"default": Agent(path=folder)}, watch=watch)
    return LiveAgents(settings, loads, clock), clock, loads


def test_an_edit_is_taken_up_at_the_next_look(folder: Path, files: Files) -> None:
    files({"instructions.md": "one"})
    agents, clock, _ = fleet(folder)
    assert agents.get("default").instructions == "one"
    files({"instructions.md": "second"})
    clock.now += LOOK_EVERY / 2
    assert agents.get("default").instructions == "one"
    clock.now += LOOK_EVERY / 2
    with capture_logs() as logs:
        assert agents.get("default").instructions == "second"
    assert [entry["event"] for entry in logs] == ["agent_reloaded"]


def test_what_did_not_change_is_not_read_again(folder: Path, files: Files) -> None:
    files({"instructions.md": "one"})
    agents, clock, loads = fleet(folder)
    first = agents.get("default")
    for _ in range(5):
        clock.now += LOOK_EVERY
        assert agents.get("default") is first
    assert loads.count == 1


def test_a_broken_edit_is_refused_loudly_once_and_the_last_good_stays(folder: Path, files: Files) -> None:
    files({"instructions.md": "one"})
    agents, clock, loads = fleet(folder)
    good = agents.get("default")
    files({"tools/a.py": "1 +"})
    with capture_logs() as logs:
        for _ in range(3):
            clock.now += LOOK_EVERY
            assert agents.get("default") is good
    (entry,) = logs
    assert (entry["event"], entry["log_level"], entry["agent"]) == ("agent_refused", "error", "default")
    assert entry["problems"] == [f"{folder / 'tools' / 'a.py'}:1: invalid syntax; correct it"]
    assert loads.count == 2
    files({"tools/a.py": "x = 1 + 1"})
    clock.now += LOOK_EVERY
    assert agents.get("default") is not good


def test_without_watch_only_a_reload_looks(folder: Path, files: Files) -> None:
    files({"instructions.md": "one"})
    agents, clock, loads = fleet(folder, watch=False)
    agents.get("default")
    files({"instructions.md": "second"})
    clock.now += 100 * LOOK_EVERY
    assert agents.get("default").instructions == "one"
    agents.reload()
    assert agents.get("default").instructions == "second"
    agents.get("default")
    assert loads.count == 2


def test_a_reload_reads_even_what_looks_the_same(folder: Path) -> None:
    agents, _, loads = fleet(folder)
    first = agents.get("default")
    agents.reload()
    assert agents.get("default") is not first
    assert loads.count == 2


def test_a_reload_while_an_agent_is_read_is_not_lost(folder: Path) -> None:
    agents, _, loads = fleet(folder)
    agents.get("default")
    loads.gate.clear()
    loads.entered.clear()
    agents.reload()
    reader = threading.Thread(target=agents.get, args=["default"])
    reader.start()
    assert loads.entered.wait(10)
    agents.reload()
    loads.gate.set()
    reader.join(10)
    agents.get("default")
    assert loads.count == 3


def test_a_folder_that_was_never_good_is_tried_each_time(folder: Path, files: Files) -> None:
    files({"tools/a.py": "1 +"})
    agents, _, _ = fleet(folder)
    for _ in range(2):
        with pytest.raises(ConfigError):
            agents.get("default")
    files({"tools/a.py": "x = 1"})
    assert agents.get("default").id == "default"


def test_an_unknown_agent_is_refused(folder: Path) -> None:
    agents, _, _ = fleet(folder)
    with pytest.raises(Refused, match="no agent is named nobody"):
        agents.get("nobody")


def test_many_threads_read_a_folder_once(folder: Path) -> None:
    agents, _, loads = fleet(folder)
    together = threading.Barrier(16)

    def get(_: int) -> AgentSpec:
        together.wait(10)
        return agents.get("default")

    with ThreadPoolExecutor(16) as pool:
        specs = list(pool.map(get, range(16)))
    assert loads.count == 1
    assert all(spec is specs[0] for spec in specs)


def test_a_turn_does_not_wait_while_another_reads(folder: Path, files: Files) -> None:
    agents, clock, loads = fleet(folder)
    first = agents.get("default")
    files({"instructions.md": "second"})
    clock.now += LOOK_EVERY
    loads.gate.clear()
    loads.entered.clear()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(agents.get, "default")
        try:
            assert loads.entered.wait(10)
            clock.now += LOOK_EVERY
            assert pool.submit(agents.get, "default").result(5) is first
        finally:
            loads.gate.set()
    assert agents.get("default").instructions == "second"
