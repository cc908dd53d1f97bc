from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import Permanent
from app.services.process import (
    ServerProcess,
    command_line,
    exists,
    free_port,
    is_free,
    is_running,
    last_lines,
    spawn,
    wait_until,
)


def shell(script: str, log: Path, death_signal: signal.Signals = signal.SIGTERM) -> ServerProcess:
    return spawn(["/bin/sh", "-c", script], account=None, log=log, death_signal=death_signal, mark=script)


def test_a_server_has_a_session_of_its_own_and_its_output_in_the_log(tmp_path: Path) -> None:
    server = shell("echo out; echo err >&2; read x", tmp_path / "log")
    assert wait_until(lambda: not server.alive(), 10)
    assert (tmp_path / "log").read_text() == "out\nerr\n"
    server = shell("exec sleep 60", tmp_path / "log")
    assert os.getsid(server.pid) == server.pid
    server.stop([(signal.SIGTERM, 5)])
    assert server.ended() == "killed by SIGTERM"


def test_it_does_not_know_of_other_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/elsewhere")
    monkeypatch.setenv("SECRET", "x")
    server = shell("env", tmp_path / "log")
    assert wait_until(lambda: not server.alive(), 10)
    names = {line.partition("=")[0] for line in (tmp_path / "log").read_text().splitlines()}
    assert not names & {"PGDATA", "SECRET"}
    assert "PATH" in names


def test_what_ignores_one_signal_gets_the_next(tmp_path: Path) -> None:
    server = shell("trap '' INT TERM; echo ready; while :; do sleep 0.1; done", tmp_path / "log")
    wait_until(lambda: "ready" in (tmp_path / "log").read_text(), 10)
    server.stop([(signal.SIGINT, 0.1), (signal.SIGTERM, 0.1)])
    assert server.ended() == "killed by SIGKILL"
    assert not exists(server.pid), "a zombie"
    server.stop([(signal.SIGINT, 0.1)])


def test_how_it_ended(tmp_path: Path) -> None:
    server = shell("exit 3", tmp_path / "log")
    assert wait_until(lambda: not server.alive(), 10)
    assert server.ended() == "exit code 3"
    assert not server.succeeded()
    assert wait_until(shell("exit 0", tmp_path / "log").succeeded, 10)


def test_what_cannot_be_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="can't run /no/such/program: No such file"):
        spawn(["/no/such/program"], account=None, log=tmp_path / "log", death_signal=signal.SIGTERM, mark="")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death")
def test_it_is_told_of_our_death(tmp_path: Path) -> None:
    script = f"""
import signal, sys, time
from pathlib import Path
from app.services.process import spawn
child = '''
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("told", flush=True), sys.exit()))
print("ready", flush=True)
time.sleep(60)
'''
log = Path({str(tmp_path / "log")!r})
server = spawn([sys.executable, "-c", child], account=None, log=log, death_signal=signal.SIGINT, mark="")
print(server.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert wait_until(lambda: "ready" in (tmp_path / "log").read_text(), 10)
        parent.kill()
    assert wait_until(lambda: "told" in (tmp_path / "log").read_text(), 10)
    assert wait_until(lambda: not command_line(pid), 10)


def test_a_number_that_went_to_another_program_is_not_ours() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        assert wait_until(lambda: is_running(other.pid, "sleep 60"), 10)
        adopted = ServerProcess(other.pid, "postgres -D /data ")
        assert not adopted.alive()
        adopted.stop([(signal.SIGTERM, 1)])
        assert other.poll() is None
        other.kill()


def test_ports() -> None:
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert not is_free(port)
    assert is_free(port)


def test_the_end_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(1000)))
    assert last_lines(tmp_path / "log", 2) == "line 998\nline 999"
