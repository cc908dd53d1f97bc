"""Turns over a real HTTP model server that behaves, and that misbehaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import REPOSITORY, Fleet
from tests.fakes import openai
from tests.fakes.openai import FakeOpenAI


@pytest.fixture
def model_server() -> Iterator[FakeOpenAI]:
    with openai.start(api_key="sk-test") as server:
        yield server


@pytest.fixture
def fleet(make_fleet: MakeFleet, model_server: FakeOpenAI) -> Fleet:
    alias = {"model": "openai/gpt-test", "base_url": model_server.base_url, "api_key": "sk-test", "timeout": "2s"}
    config = {"models": {"fake": alias}, "agents": {"default": {"model": "fake"}}, "task": {"model_attempts": 3}}
    return make_fleet(web=1, worker=1, runner=1, config=config)


def test_replies_and_calls(fleet: Fleet) -> None:
    plain = fleet.post('[[reply="all is well"]] how are you', sync=True)
    assert (plain["status"], plain["text"]) == ("done", "all is well"), fleet.logs()

    three = fleet.post('count [[tools=3 command="echo x >> f; wc -l < f"]]', sync=True)
    assert three["status"] == "done", fleet.logs()
    assert [row[0] for row in fleet.sql("SELECT result FROM call ORDER BY created_at")] == ["1", "2", "3"]
    assert fleet.sql(
        "SELECT count(*) FROM step JOIN turn ON turn.id = turn_id WHERE turn.id = :run", run=three["runId"]
    ) == [(4,)]
    assert fleet.sql("SELECT count(*) FROM step WHERE input_tokens > 0 AND output_tokens > 0") == [(5,)]


def test_a_thread_remembers(fleet: Fleet) -> None:
    first = fleet.post('[[reply="noted"]] my name is Ada', sync=True)
    fleet.post('[[reply="again"]] what is my name', thread=first["threadId"], sync=True)
    kinds = fleet.sql("SELECT kind FROM entry ORDER BY seq")
    assert kinds == [("request",), ("response",), ("request",), ("response",)]


def test_failures_that_pass(fleet: Fleet) -> None:
    """A 429 with Retry-After, a 500, a hang, a broken and a malformed answer: each once, then all is well."""
    kinds = ["status=429 retry_after=1", "status=500", "hang=20", "drop", "malformed=json", "malformed=cut"]
    sent = [fleet.post(f'[[{kind} times=1 reply="at last"]] {kind}') for kind in kinds]
    for kind, accepted in zip(kinds, sent, strict=True):
        ended = fleet.finished(accepted, 30)
        assert (ended["status"], ended["text"]) == ("done", "at last"), (kind, ended, fleet.logs())
    retried = fleet.sql("SELECT count(DISTINCT turn_id) FROM event WHERE kind = 'model_retry'")
    assert retried == [(len(kinds),)]
    waits = fleet.sql(
        "SELECT (data->>'wait_seconds')::float FROM event WHERE kind = 'model_retry' AND turn_id = :run",
        run=sent[0]["runId"],
    )
    assert all(wait >= 1 for (wait,) in waits)


def test_failures_that_do_not_pass(fleet: Fleet, model_server: FakeOpenAI) -> None:
    bad = fleet.finished(fleet.post("[[status=400]] bad"), 20)
    assert bad["status"] == "failed"
    assert fleet.sql("SELECT count(*) FROM event WHERE kind = 'model_retry'") == [(0,)]
    never = fleet.finished(fleet.post("[[status=503]] never"), 40)
    assert never["status"] == "failed"
    assert fleet.sql("SELECT count(*) FROM event WHERE kind = 'model_retry'") == [(2,)]
    for answer in (bad, never):
        assert "sk-test" not in answer["text"]
    # The thread goes on: what failed does not block it.
    after = fleet.post('[[reply="here again"]] hello', thread=bad["threadId"], sync=True)
    assert after["text"] == "here again"


def test_chat_streams_on_a_terminal(fleet: Fleet) -> None:
    """`heyfleet chat` in a pipe prints the answer; on a terminal it prints it as it comes (script makes one)."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "HEYFLEET_CONFIG": str(fleet.folder / "heyfleet.yaml"),
        "DATABASE_URL": fleet.database_url,
        "REDIS_URL": fleet.redis_url,
        "TERM": "xterm",
    }
    said = '[[reply="one two three four" per_token_ms=50]] hello'
    command = [sys.executable, "-m", "app.cli.main", "chat", said]
    piped = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (piped.returncode, piped.stdout) == (0, "one two three four\n"), piped.stderr + fleet.logs()
    pty = [sys.executable, "-c", f"import pty, sys; sys.exit(pty.spawn({command!r}) >> 8)"]
    shown = subprocess.run(pty, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert shown.stdout.replace("\r", "").strip() == "one two three four", (shown, fleet.logs())
    assert fleet.sql("SELECT DISTINCT state FROM delivery") == [("sent",)]
