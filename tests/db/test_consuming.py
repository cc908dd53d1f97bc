"""When a process counts as one that gets no messages, and what is done about it."""

from __future__ import annotations

import threading

import pytest

from app.config.settings import Settings
from app.db import Database
from app.errors import Transient
from app.processes import GONE_AFTER, Presence, listed, troubles
from tests.db.rows import rows
from workers.consuming import ANSWERS_FOR, ENDED_AFTER, SILENT_AFTER, Consuming, Watchdog
from workers.showing import shown

NO_REDIS = "redis://127.0.0.1:1/0"


class Heard:
    """A pulse that was last felt so many seconds ago."""

    def __init__(self, age: float) -> None:
        self.age = age

    def beat(self) -> None:
        self.age = 0.0


def consuming(age: float, threads: int = 2) -> Consuming:
    return Consuming(threads, Heard(age))  # type: ignore[arg-type]


def test_silence_of_the_broker_is_a_problem() -> None:
    assert consuming(SILENT_AFTER - 1).problem() is None
    assert "heard nothing from Redis for 31 s" in str(consuming(SILENT_AFTER + 1).problem())


def test_a_process_whose_threads_are_all_at_work_fetches_nothing_and_is_well() -> None:
    found = consuming(1000)
    with found.at_work(), found.at_work():
        assert found.problem() is None
    assert found.problem() is None, "from here on it has its time again"


def test_one_that_has_a_thread_left_should_hear() -> None:
    found = consuming(1000)
    with found.at_work():
        assert found.problem() is not None


def test_a_process_is_ended_once_and_only_where_redis_answers_others(redis_url: str) -> None:
    ended, now = threading.Event(), [0.0]

    def looks(silent: Consuming, url: str) -> list[bool]:
        """A look at once, and one a while later."""
        watchdog = Watchdog(silent, url, 1.0, ended.set, lambda: now[0])
        found = [watchdog.look()]
        now[0] += ANSWERS_FOR
        return [*found, watchdog.look()]

    assert looks(consuming(ENDED_AFTER + 1), NO_REDIS) == [False, False]
    assert looks(consuming(ENDED_AFTER - 1), redis_url) == [False, False]
    draining = threading.Event()
    draining.set()
    assert looks(Consuming(2, Heard(1000), draining=draining), redis_url) == [False, False]  # type: ignore[arg-type]
    assert not ended.is_set()
    silent = consuming(ENDED_AFTER + 1)
    watchdog = Watchdog(silent, redis_url, 1.0, ended.set, lambda: now[0])
    assert not watchdog.look(), "Redis may have come back just now: then the process finds out by itself"
    now[0] += ANSWERS_FOR
    assert watchdog.look()
    assert ended.is_set()
    assert silent.ended
    assert not watchdog.look()


def test_what_was_told_to_end_since_it_got_nothing_is_to_be_started_again(db: Database, redis_url: str) -> None:
    """By its exit code: a supervisor starts again what failed, and not what ended in order."""
    silent = consuming(ENDED_AFTER + 1)
    with pytest.raises(Transient, match="to be started again"), shown(Settings(), db, "worker", silent, redis_url):
        silent.ended = True
    with shown(Settings(), db, "worker", consuming(0), redis_url):
        pass
    assert rows(db, "SELECT kind, stopped_at IS NOT NULL FROM process") == [("worker", True)] * 2


def test_what_a_process_says_of_itself_is_told_for_as_long_as_it_says_so(db: Database) -> None:
    said: list[str | None] = [None]
    presence = Presence(db, "worker", lambda: said[0])
    presence.beat()
    assert [(row.kind, row.state) for row in listed(db)] == [("worker", "works")]
    assert troubles(db) == []
    said[0] = "it hears nothing"
    presence.beat()
    assert [(row.state, row.problem) for row in listed(db)] == [("stuck", "it hears nothing")]
    (trouble,) = troubles(db)
    assert trouble.startswith("worker ")
    assert trouble.endswith(": it hears nothing")
    db.rows(f"UPDATE process SET heartbeat_at = now() - interval '{GONE_AFTER + 1} seconds'")
    assert [row.state for row in listed(db)] == ["gone"]
    assert troubles(db) == [], "nobody knows what it does"
    said[0] = None
    presence.beat()
    assert [row.state for row in listed(db)] == ["works"]
    presence.start()
    presence.close()
    assert list(listed(db)) == []


def test_one_that_was_killed_and_started_again_is_no_trouble(db: Database) -> None:
    Presence(db, "worker", lambda: None).beat()
    db.rows(f"UPDATE process SET heartbeat_at = now() - interval '{GONE_AFTER + 1} seconds', started_at = heartbeat_at")
    assert [row.state for row in listed(db)] == ["gone"]
    Presence(db, "worker", lambda: None).beat()
    assert [row.state for row in listed(db)] == ["works"]
    db.rows(
        "UPDATE process SET started_at = now() - interval '1 hour' WHERE heartbeat_at > now() - interval '5 seconds'"
    )
    assert sorted(row.state for row in listed(db)) == ["gone", "works"], (
        "it ran beside the other one: nobody came for it"
    )
