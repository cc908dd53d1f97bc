"""What every runtime must do, for real: one suite for all, and a table of what each of them promises beyond that."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.config.settings import Runtime as RuntimeSettings
from app.errors import Permanent, Refused, Transient
from app.policy.patterns import Patterns
from app.ports import Executed, Runtime, Sandbox
from app.runtimes.bubblewrap import BubblewrapRuntime, cure
from app.runtimes.host import HostRuntime
from app.runtimes.registry import BUILT_IN, factory, open_runtimes
from app.runtimes.tree import descendants

PROMISES = {
    "real commands": ("bubblewrap", "guarded", "host"),
    "snapshots": ("virtual",),
    "a folder": ("bubblewrap", "guarded", "host"),
    "isolation": ("virtual", "bubblewrap"),
    "namespaces": ("bubblewrap",),
    "policy": ("guarded",),
    "fork bombs": ("virtual", "bubblewrap", "host"),  # guarded refuses to run one
}
"""Which runtimes promise what. What is not asked for by name is promised by all."""
MAX_OUTPUT_BYTES, MAX_OUTPUT_LINES = 4000, 60
MAX_FILE_BYTES = 1_000_000
MAX_PROCESSES = 40


def promised(*promises: str) -> pytest.MarkDecorator:
    """Run a test on the runtimes that promise all of these."""
    names = [name for name in BUILT_IN if all(name in PROMISES[promise] for promise in promises)]
    return pytest.mark.parametrize("runtime", names, indirect=True)


everywhere = promised()
looks_into_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> RuntimeSettings:
    return RuntimeSettings(
        workspace=tmp_path_factory.mktemp("workspace"),
        timeout=20.0,
        max_output_bytes=MAX_OUTPUT_BYTES,
        max_output_lines=MAX_OUTPUT_LINES,
        max_memory=200_000_000,
        max_processes=MAX_PROCESSES,
        max_file_bytes=MAX_FILE_BYTES,
    )


@pytest.fixture(scope="module")
def opened(settings: RuntimeSettings) -> Iterator[Callable[[str], Runtime]]:
    known: dict[str, tuple[Runtime, str | None]] = {}

    def get(name: str) -> Runtime:
        if name not in known:
            runtime = factory(name)(settings)
            known[name] = runtime, runtime.available()
        runtime, reason = known[name]
        if reason:
            pytest.skip(reason)
        return runtime

    yield get
    for runtime, _ in known.values():
        if isinstance(runtime, HostRuntime | BubblewrapRuntime):
            runtime.close()


@pytest.fixture
def runtime(request: pytest.FixtureRequest, opened: Callable[[str], Runtime]) -> Runtime:
    return opened(request.param)


@pytest.fixture
def sandbox(runtime: Runtime) -> Iterator[Sandbox]:
    sandbox = runtime.open(secrets.token_hex(8), None)
    yield sandbox
    sandbox.close()


@pytest.fixture
def mark() -> str:
    """A number of seconds that no other process sleeps for."""
    return f"{secrets.randbelow(10**9) + 10**9}.25"


def run(sandbox: Sandbox, command: str, *, timeout: float = 15.0) -> Executed:
    return sandbox.exec(command, timeout=timeout, cancel=threading.Event())


def processes_with(text: str) -> list[int]:
    """Processes of this machine, those in namespaces included, whose command line has the text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def soon(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


# --- commands


@everywhere
def test_a_command_gives_its_output_and_exit_code(sandbox: Sandbox) -> None:
    assert run(sandbox, "echo hello; exit 3") == Executed("hello\n", 3)


@everywhere
def test_stdout_and_stderr_come_in_the_order_in_which_they_were_printed(sandbox: Sandbox) -> None:
    assert run(sandbox, "echo 1; echo 2 >&2; echo 3; echo 4 >&2").output == "1\n2\n3\n4\n"


@everywhere
def test_what_can_not_be_parsed_or_found_is_told(sandbox: Sandbox) -> None:
    assert "no-such-command" in run(sandbox, "no-such-command").output
    if type(sandbox).__name__ != "GuardedSandbox":  # which refuses before
        assert "syntax error" in run(sandbox, "echo before; if then fi").output


@everywhere
def test_commands_start_in_the_workspace_which_is_their_home(sandbox: Sandbox) -> None:
    result = run(sandbox, 'test "$PWD" = "$HOME" && pwd && echo here > ~/file')
    assert result.exit_code == 0
    assert sandbox.read("file") == "here\n"


@everywhere
def test_files_stay_between_commands(sandbox: Sandbox) -> None:
    run(sandbox, "mkdir -p a/b && echo one > a/b/c")
    assert run(sandbox, "cat a/b/c").output == "one\n"


@everywhere
def test_a_command_has_no_input(sandbox: Sandbox) -> None:
    assert run(sandbox, "cat; echo end").output == "end\n"


@everywhere
def test_unicode_goes_through(sandbox: Sandbox) -> None:
    assert run(sandbox, "echo 'naïve 日本 🚀'").output == "naïve 日本 🚀\n"


@promised("real commands")
def test_output_that_is_no_text_is_still_a_text_that_can_be_stored(sandbox: Sandbox) -> None:
    output = run(sandbox, r"printf 'a\000b\377c'").output
    assert output == "a\ufffdb\ufffdc"


@everywhere
def test_a_long_output_keeps_both_ends_and_all_of_it_can_be_read(sandbox: Sandbox) -> None:
    output = run(sandbox, "for i in $(seq 1 5000); do echo line $i; done").output
    assert output.startswith("line 1\nline 2\n")
    assert output.endswith("line 4999\nline 5000\n")
    assert len(output.encode()) <= MAX_OUTPUT_BYTES
    assert output.count("\n") <= MAX_OUTPUT_LINES
    assert "all of it is in .output/1.txt" in output
    assert sandbox.read(".output/1.txt", offset=2499, limit=2) == "line 2500\nline 2501\n"


@looks_into_proc
@everywhere
def test_a_flood_of_output_fills_neither_memory_nor_disk(sandbox: Sandbox) -> None:
    before = resident()
    line = "x" * 200
    ended = run(sandbox, f"while true; do echo {line}{line}{line}{line}{line}; done", timeout=1)
    assert ended.ended == "timeout" or ended.exit_code != 0
    assert len(ended.output.encode()) <= MAX_OUTPUT_BYTES
    assert "its first 1000000 bytes are in .output/1.txt" in ended.output
    assert len(sandbox.export(".output/1.txt", max_bytes=MAX_FILE_BYTES)) == MAX_FILE_BYTES
    # bashkit has up to 10 MB of its own of an output.
    assert resident() - before < 60_000_000


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@everywhere
def test_commands_side_by_side(sandbox: Sandbox) -> None:
    outputs: dict[int, str] = {}

    def one(number: int) -> None:
        outputs[number] = run(sandbox, f"sleep 0.1; echo {number}").output

    threads = [threading.Thread(target=one, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {number: f"{number}\n" for number in range(5)}


@everywhere
def test_the_sandboxes_of_two_scopes_are_apart(runtime: Runtime) -> None:
    one, two = runtime.open(secrets.token_hex(8), None), runtime.open(secrets.token_hex(8), None)
    one.write("mine", "1")
    assert two.list() == []
    one.close()
    two.close()


# --- ending commands


@everywhere
def test_a_timeout_ends_a_command_and_keeps_what_it_printed(sandbox: Sandbox) -> None:
    began = time.monotonic()
    ended = run(sandbox, "echo before; sleep 30; echo after", timeout=0.3)
    assert time.monotonic() - began < 1.3
    assert ended == Executed("before\n", 124, "timeout")
    assert run(sandbox, "echo again").output == "again\n"


@looks_into_proc
@everywhere
@pytest.mark.parametrize("command", ["sleep {}", "while true; do true; done # {}", "echo $(sleep {} | cat)"])
def test_a_cancelled_command_is_dead_within_a_second(sandbox: Sandbox, mark: str, command: str) -> None:
    cancel = threading.Event()
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    began = time.monotonic()
    ended = sandbox.exec(command.format(mark), timeout=15, cancel=cancel)
    assert time.monotonic() - began < 1.2
    assert (ended.exit_code, ended.ended) == (130, "cancelled")
    assert processes_with(mark) == []
    assert run(sandbox, "echo again").output == "again\n"


@looks_into_proc
@promised("real commands")
@pytest.mark.parametrize(
    "command",
    [
        "sleep {} &",
        "nohup sleep {} > /dev/null 2>&1 &",
        "setsid sleep {} > /dev/null 2>&1 &",
        "( ( setsid sleep {} & ) & )",
        "setsid bash -c 'trap \"\" TERM HUP INT; sleep {}; sleep {}' & sleep 0.1",
    ],
)
def test_nothing_outlives_its_command(sandbox: Sandbox, mark: str, command: str) -> None:
    began = time.monotonic()
    ended = run(sandbox, command.format(mark, mark) + "\necho started")
    assert ended.output == "started\n"
    assert time.monotonic() - began < 5
    assert processes_with(mark) == []


@promised()
def test_jobs_of_a_stopped_command_do_not_hold_up_the_next(sandbox: Sandbox) -> None:
    run(sandbox, "echo kept > file")
    assert run(sandbox, "echo more >> file; sleep 60 & wait", timeout=1).ended == "timeout"
    after = run(sandbox, "cat file", timeout=20)
    assert (after.output, after.ended) == ("kept\nmore\n", "exited")


@looks_into_proc
@promised("fork bombs")
def test_a_fork_bomb_is_bounded_and_the_runner_goes_on(runtime: Runtime, sandbox: Sandbox, mark: str) -> None:
    results: list[Executed] = []
    # It ends by itself where nothing ends it: two to the thirteenth must be enough to fail this test.
    bomb = f"b() {{ if (( $1 )); then b $(($1 - 1)) | b $(($1 - 1)) & else sleep {mark}; fi; }}; b 13; sleep 2; echo"
    thread = threading.Thread(target=lambda: results.append(run(sandbox, bomb, timeout=2)))
    thread.start()
    other = runtime.open(secrets.token_hex(8), None)
    most = 0
    while thread.is_alive():
        most = max(most, len(processes_with(mark)))
        assert run(other, "echo alive").output == "alive\n"
    other.close()
    thread.join()
    assert most < MAX_PROCESSES * 30  # counted every 0.1 s where the kernel does not enforce it
    assert processes_with(mark) == []
    assert run(sandbox, "echo again").output == "again\n"


@looks_into_proc
@promised("real commands")
def test_a_command_has_so_many_processes_and_no_more(sandbox: Sandbox, mark: str) -> None:
    ended = run(sandbox, f"for i in $(seq 1 300); do sleep {mark} & done; wait; echo all", timeout=6)
    assert "all" not in ended.output
    assert "too many processes" in ended.output or "Resource temporarily unavailable" in ended.output
    assert (
        run(sandbox, f"for i in $(seq 1 {MAX_PROCESSES // 2}); do sleep 0.3 & done; wait; echo all").output == "all\n"
    )


RUNNER = """
import sys, threading
from pathlib import Path
from app.config.settings import Runtime
from app.runtimes.bubblewrap import BubblewrapRuntime, cure
from app.runtimes.host import HostRuntime
from app.runtimes.registry import open_runtimes
runtime = open_runtimes([sys.argv[1]], Runtime(workspace=Path(sys.argv[2])))[sys.argv[1]]
command = "setsid sleep {0} & sleep {0}".format(sys.argv[3])
runtime.open("k", None).exec(command, timeout=60, cancel=threading.Event())
"""


@looks_into_proc
@promised("real commands")
def test_nothing_outlives_a_killed_runner(runtime: Runtime, tmp_path: Path, mark: str) -> None:
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, runtime.name, str(tmp_path), mark])
    assert soon(lambda: len(processes_with(f"sleep\0{mark}")) == 2, 15)
    family = descendants(runner.pid)
    runner.kill()
    runner.wait()
    assert soon(lambda: processes_with(mark) == [])
    assert soon(lambda: [pid for pid in family if alive(pid)] == [])


def alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # empty for a zombie
    except (FileNotFoundError, ProcessLookupError):
        return False


@looks_into_proc
@pytest.mark.parametrize("runtime", ["host"], indirect=True)
def test_a_command_that_kills_its_keeper_ends_with_it(sandbox: Sandbox, mark: str) -> None:
    with pytest.raises(Transient, match="its own keeper"):
        run(sandbox, f"setsid sleep {mark} & ( setsid sleep {mark} & ); sleep 0.1; kill -9 $PPID; sleep {mark}")
    assert soon(lambda: processes_with(mark) == [])
    assert run(sandbox, "echo again").output == "again\n"


@looks_into_proc
@promised("real commands")
def test_a_killed_supervisor_is_replaced(sandbox: Sandbox, runtime: Runtime) -> None:
    assert run(sandbox, "true").exit_code == 0
    for pid in children_of_mine(b"app.runtimes.supervise"):
        os.kill(pid, signal.SIGKILL)
    assert soon(lambda: children_of_mine(b"app.runtimes.supervise") == [])
    assert run(sandbox, "echo again").output == "again\n"


def children_of_mine(text: bytes) -> list[int]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in found if text in Path(f"/proc/{pid}/cmdline").read_bytes()]


@promised("real commands")
def test_limits_hold_for_files_and_memory(sandbox: Sandbox) -> None:
    assert run(sandbox, f"head -c {MAX_FILE_BYTES * 2} /dev/zero > big").exit_code != 0
    assert len(sandbox.export("big", max_bytes=MAX_FILE_BYTES)) == MAX_FILE_BYTES
    assert run(sandbox, "head -c 400000000 /dev/zero | tail -n 1 | wc -c").output.strip() != "400000000"


# --- files


@everywhere
def test_a_text_file_is_written_read_and_edited(sandbox: Sandbox) -> None:
    sandbox.write("new/folder/été.txt", "one\ntwo\r\nthree\u2028still three\n")
    assert sandbox.read("new/folder/été.txt") == "one\ntwo\r\nthree\u2028still three\n"
    assert sandbox.read("new/folder/été.txt", offset=1, limit=1) == "two\r\n"
    assert sandbox.read("new/folder/été.txt", offset=2) == "three\u2028still three\n"
    assert sandbox.read("new/folder/été.txt", offset=9) == ""
    sandbox.edit("new/folder/été.txt", "two", "2")
    assert run(sandbox, "head -n 2 new/folder/été.txt").output == "one\n2\r\n"


@everywhere
def test_writing_replaces_and_keeps_a_file_executable(sandbox: Sandbox) -> None:
    sandbox.write("script.sh", "echo old")
    run(sandbox, "chmod 755 script.sh")
    sandbox.write("script.sh", "echo new")
    assert run(sandbox, "test -x script.sh && bash script.sh").output == "new\n"


@everywhere
@pytest.mark.parametrize("old", ["nowhere", "twice", "aa", ""])
def test_an_edit_that_is_not_clear_is_refused_and_changes_nothing(sandbox: Sandbox, old: str) -> None:
    sandbox.write("file", "twice twice aaa")
    with pytest.raises(Refused):
        sandbox.edit("file", old, "x")
    assert sandbox.read("file") == "twice twice aaa"


@everywhere
def test_any_bytes_are_stored_and_exported(sandbox: Sandbox) -> None:
    content = bytes(range(256)) * 1000
    sandbox.store("inbox/data.bin", content)
    assert sandbox.export("inbox/data.bin", max_bytes=len(content)) == content
    assert run(sandbox, "wc -c < inbox/data.bin").output.strip() == str(len(content))
    with pytest.raises(Refused, match="not a text file"):
        sandbox.read("inbox/data.bin")


@everywhere
def test_an_edit_leaves_bytes_that_are_no_text_alone(sandbox: Sandbox) -> None:
    sandbox.store("file", b"caf\xe9 old")
    sandbox.edit("file", "old", "new")
    assert sandbox.export("file", max_bytes=100) == b"caf\xe9 new"


@everywhere
def test_what_is_too_big_is_refused(sandbox: Sandbox) -> None:
    sandbox.store("file", b"x" * 1000)
    with pytest.raises(Refused, match="more than 999 bytes"):
        sandbox.export("file", max_bytes=999)
    with pytest.raises(Refused, match="more than"):
        sandbox.store("big", b"x" * (MAX_FILE_BYTES + 1))
    assert sandbox.list() == ["file"]


@everywhere
def test_folders_are_listed_and_searched_by_name(sandbox: Sandbox) -> None:
    for path in ("b.py", "a/c.py", "a/d/e.py", "a/d/e.txt", "a/.hidden.py"):
        sandbox.write(path, "")
    assert sandbox.list() == ["a/", "b.py"]
    assert sandbox.list("a") == [".hidden.py", "c.py", "d/"]
    assert sandbox.find("*.py") == ["a/.hidden.py", "a/c.py", "a/d/e.py", "b.py"]
    assert sandbox.find("e*", "a/d") == ["a/d/e.py", "a/d/e.txt"]
    assert sandbox.find("d") == ["a/d"]


@everywhere
def test_files_are_searched_by_expression(sandbox: Sandbox) -> None:
    sandbox.write("b.txt", "one\nfoo 1\nfoo: 2\n")
    sandbox.write("a/été x.txt", "nothing\nFoo\nfoo 3")
    sandbox.store("binary", b"foo\0")
    assert sandbox.grep("fo+") == ["a/été x.txt:3:foo 3", "b.txt:2:foo 1", "b.txt:3:foo: 2"]
    assert sandbox.grep("^(Foo|one)$", "a") == ["a/été x.txt:2:Foo"]
    assert sandbox.grep("foo", "b.txt") == ["b.txt:2:foo 1", "b.txt:3:foo: 2"]
    assert sandbox.grep("-v") == []
    with pytest.raises(Refused):
        sandbox.grep("(")


@everywhere
def test_an_expression_that_backtracks_for_ever_does_not_hold_the_runner(sandbox: Sandbox) -> None:
    sandbox.write("file", "a" * 40 + "b\n")
    began = time.monotonic()
    sandbox.grep("^(a+)+$")
    assert time.monotonic() - began < 5


@everywhere
@pytest.mark.parametrize("path", ["nothing", "nothing/here"])
def test_what_is_not_there_is_refused_as_not_found(sandbox: Sandbox, path: str) -> None:
    for use in (sandbox.read, sandbox.list, lambda p: sandbox.grep("x", p), lambda p: sandbox.edit(p, "a", "b")):
        with pytest.raises(Refused) as refused:
            use(path)
        assert refused.value.status == 404


@everywhere
def test_a_folder_is_no_file_and_a_file_no_folder(sandbox: Sandbox) -> None:
    sandbox.write("folder/file", "x")
    for use in (
        lambda: sandbox.read("folder"),
        lambda: sandbox.write("folder", "x"),
        lambda: sandbox.read("."),
        lambda: sandbox.list("folder/file"),
        lambda: sandbox.write("folder/file/below", "x"),
    ):
        with pytest.raises(Refused):
            use()
    assert sandbox.read("folder/file") == "x"


@promised("real commands")
def test_a_pipe_in_a_files_place_does_not_hold_the_runner(sandbox: Sandbox) -> None:
    run(sandbox, "mkfifo pipe")
    for use in (lambda: sandbox.read("pipe"), lambda: sandbox.write("pipe", "x")):
        with pytest.raises(Refused, match="no ordinary file"):
            use()


# --- ways out

USES: list[Callable[[Sandbox, str], object]] = [
    lambda sandbox, path: sandbox.read(path),
    lambda sandbox, path: sandbox.write(path, "x"),
    lambda sandbox, path: sandbox.edit(path, "root", "x"),
    lambda sandbox, path: sandbox.list(path),
    lambda sandbox, path: sandbox.find("*", path),
    lambda sandbox, path: sandbox.grep("root", path),
    lambda sandbox, path: sandbox.export(path, max_bytes=10_000),
    lambda sandbox, path: sandbox.store(path, b"x"),
]


@everywhere
@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "/", "..", "\0", "x" * 5000, "\ud800"])
def test_paths_that_lead_out_are_refused(sandbox: Sandbox, path: str) -> None:
    run(sandbox, "mkdir a")
    for use in USES:
        with pytest.raises(Refused):
            use(sandbox, path)


@everywhere
def test_links_that_lead_out_are_refused(sandbox: Sandbox) -> None:
    made = (
        "mkdir d; ln -s /etc/passwd file; ln -s / top; ln -s .. up; ln -s ../.. d/up; ln -s file again; "
        "ln -s ../nothing new; ln -s loop loop"
    )
    assert run(sandbox, made).exit_code == 0
    for path in ("file", "again", "top/etc/passwd", "up/x", "d/up/x", "d/up", "new", "loop"):
        for use in USES:
            with pytest.raises(Refused, match="too many links" if path == "loop" else "leads out"):
                use(sandbox, path)
    assert sandbox.find("passwd") == []


@everywhere
def test_links_that_stay_inside_are_followed(sandbox: Sandbox) -> None:
    sandbox.write("d/e/file", "text")
    run(sandbox, 'ln -s d/e short; ln -s "$PWD/d" long; ln -s ../e/file d/e/link; ln -s e/../../d/e d/odd')
    for path in ("short/file", "long/e/file", "d/e/link", "short/../../d/e/file", "d/odd/file"):
        assert sandbox.read(path) == "text"
    sandbox.write("short/new", "made")
    assert sandbox.read("d/e/new") == "made"


@everywhere
def test_an_absolute_path_to_inside_is_taken(sandbox: Sandbox) -> None:
    top = run(sandbox, "pwd").output.strip()
    sandbox.write(f"{top}/file", "x")
    assert sandbox.list(top) == ["file"]


@promised("isolation")
def test_no_file_of_the_host_is_seen(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    output = run(
        sandbox, f"cat {secret}; ln -s {secret} l; cat l; cat /etc/shadow /etc/hostname; ls /root /home"
    ).output
    assert "the secret" not in output
    assert socket.gethostname() not in output
    written = run(sandbox, f"echo x > {tmp_path}/made; echo x > /usr/made; echo x > /etc/made").output
    assert written
    assert os.listdir(tmp_path) == ["secret"]
    assert not Path("/usr/made").exists()


@promised("isolation")
def test_no_process_and_no_environment_of_the_host_is_seen(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEYFLEET_TEST_SECRET", "the-secret")
    output = run(sandbox, "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' ' '; env").output
    assert "the-secret" not in output
    assert "pytest" not in output
    assert run(sandbox, f"kill -0 {os.getpid()} && echo reached").output != "reached\n"


@promised("real commands")
def test_the_environment_is_not_the_runners(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEYFLEET_TEST_SECRET", "the-secret")
    output = run(sandbox, "env; cat /proc/$PPID/environ").output
    assert "the-secret" not in output
    names = {line.partition("=")[0] for line in output.splitlines() if "=" in line}
    assert names <= {"PATH", "HOME", "PWD", "LANG", "TERM", "USER", "SHLVL", "_"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        yield server


CONNECT = "exec 3<>/dev/tcp/127.0.0.1/{port}; curl -s http://127.0.0.1:{port}/"


@promised("isolation")
def test_there_is_no_network(sandbox: Sandbox, listener: socket.socket) -> None:
    run(sandbox, CONNECT.format(port=listener.getsockname()[1]))
    with pytest.raises(TimeoutError):
        listener.accept()


def test_the_network_test_can_fail(opened: Callable[[str], Runtime], listener: socket.socket) -> None:
    run(opened("host").open(secrets.token_hex(8), None), CONNECT.format(port=listener.getsockname()[1]), timeout=1)
    listener.accept()[0].close()


@promised("namespaces")
@pytest.mark.parametrize(
    "command",
    ["unshare --user true", "unshare --mount true", "mount -t tmpfs none /tmp", "chroot / true"],
)
def test_no_new_namespace_or_mount_is_made(sandbox: Sandbox, command: str) -> None:
    ended = run(sandbox, command)
    assert ended.exit_code != 0
    assert "not permitted" in ended.output or "must be superuser" in ended.output or "denied" in ended.output


@promised("namespaces")
def test_the_system_is_read_only_and_shared_memory_is_on_disk(sandbox: Sandbox) -> None:
    ended = run(sandbox, "for f in /x /usr/x /etc/x /dev/x; do echo x > $f && echo wrote $f; done; echo y > /dev/shm/y")
    assert "wrote" not in ended.output
    assert run(sandbox, "cat /tmp/y; id -un; hostname; grep -i ^cap /proc/self/status | tr -d '0\\t\\n'").output == (
        "y\nagent\nsandbox\nCapInh:CapPrm:CapEff:CapBnd:CapAmb:"
    )


@promised("namespaces")
def test_the_process_limit_is_set_inside(sandbox: Sandbox) -> None:
    assert run(sandbox, "ulimit -u; ulimit -c").output == f"{MAX_PROCESSES}\n0\n"


@promised("namespaces")
def test_what_bwrap_says_where_namespaces_are_not_permitted_is_understood(sandbox: Sandbox) -> None:
    said = run(sandbox, "bwrap --unshare-user --ro-bind / / true").output
    assert cure(said.strip()).startswith("namespaces are not permitted here (bwrap: ")


@promised("policy")
def test_the_policy_comes_first(sandbox: Sandbox) -> None:
    with pytest.raises(Refused, match="blocked: reboot"):
        run(sandbox, "echo x > made; reboot")
    assert sandbox.list() == []
    # What is to be asked about was asked about before the call was given to a runner.
    assert run(sandbox, "chmod -R u+x .").exit_code == 0


def test_the_operator_s_patterns_hold_on_the_host_too(tmp_path: Path) -> None:
    patterns = Patterns(allow=("mkfs.none *",), block=("echo secret*",))
    opened = open_runtimes(["guarded"], RuntimeSettings(name="guarded", workspace=tmp_path), patterns)
    guarded = opened["guarded"].open("k", None)
    with pytest.raises(Refused, match=r"blocked: echo: the policy blocks echo secret\*"):
        run(guarded, "echo secrets")
    assert "went on" in run(guarded, "mkfs.none x 2>/dev/null; echo went on").output


# --- state


@promised("snapshots")
def test_a_snapshot_brings_files_variables_and_folder_to_another_runner(runtime: Runtime, sandbox: Sandbox) -> None:
    run(sandbox, "mkdir d; cd d; x=1; export y=2; f() { echo called; }; printf 'a\\0b' > file")
    snapshot = sandbox.snapshot()
    assert snapshot is not None
    other = runtime.open("other", snapshot)
    assert run(other, "pwd; echo $x $y; f").output == "/workspace/d\n1 2\ncalled\n"
    assert other.export("d/file", max_bytes=9) == b"a\0b"
    other.write("new", "x")
    assert sandbox.list() == ["d/"]


@promised("snapshots")
def test_a_sandbox_may_live_long(runtime: Runtime, sandbox: Sandbox) -> None:
    """bashkit counts commands over a session in most of its profiles, and into its snapshots."""
    for _ in range(3):
        assert run(sandbox, "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo $i").output == "60000\n"
    for _ in range(1100):
        sandbox.exec(":", timeout=5, cancel=threading.Event())
    assert run(runtime.open("other", sandbox.snapshot()), "echo ok").output == "ok\n"


@promised("snapshots")
@pytest.mark.parametrize("command", ["sleep 20", "while true; do true; done", "sleep 20 | cat", "f() { sleep 9; }; f"])
def test_a_stopped_command_takes_nothing_with_it(sandbox: Sandbox, command: str) -> None:
    run(sandbox, "x=kept; echo kept > file")
    assert run(sandbox, command, timeout=0.2).ended == "timeout"
    assert run(sandbox, "echo $x; cat file").output == "kept\nkept\n"


UNSTOPPABLE = "jq -n 'reduce range(6000000) as $n (0; . + $n)'"
"""bashkit's jq looks at no cancellation; this takes it some seconds."""


@promised("snapshots")
def test_a_command_that_does_not_stop_is_given_up_for_the_last_snapshot(sandbox: Sandbox) -> None:
    run(sandbox, "x=kept")
    sandbox.snapshot()
    run(sandbox, "x=lost")
    began = time.monotonic()
    ended = run(sandbox, UNSTOPPABLE, timeout=0.1)
    assert time.monotonic() - began < 1.2
    assert ended.ended == "timeout"
    assert run(sandbox, "echo $x").output == "kept\n"


@promised("snapshots")
def test_commands_that_do_not_stop_hold_up_no_other_sandbox(runtime: Runtime, sandbox: Sandbox) -> None:
    stuck = [runtime.open(str(number), None) for number in range((os.cpu_count() or 1) + 1)]
    threads = [threading.Thread(target=run, args=(other, UNSTOPPABLE), kwargs={"timeout": 0.1}) for other in stuck]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    began = time.monotonic()
    assert run(sandbox, "echo alive").output == "alive\n"
    assert time.monotonic() - began < 1


@promised("snapshots")
def test_state_that_can_not_be_read_is_told(runtime: Runtime) -> None:
    with pytest.raises(Permanent, match="can't be read"):
        runtime.open("key", b"not a snapshot")


@promised("a folder")
def test_the_folder_is_the_state(runtime: Runtime, settings: RuntimeSettings) -> None:
    key = secrets.token_hex(8)
    first = runtime.open(key, None)
    run(first, "echo kept > file")
    assert first.snapshot() is None
    first.close()
    assert runtime.open(key, None).read("file") == "kept\n"
    assert (settings.workspace / key / "file").read_text() == "kept\n"
    assert (settings.workspace / key).stat().st_mode & 0o777 == 0o700
