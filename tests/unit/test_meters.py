"""What processes count: all of a host together, whichever of them is asked, and for longer than they live."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

from app.ingress.metrics import HELP
from app.meters import DAY, METERS, documented

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
COUNTS = """
import sys
from pathlib import Path
from app import meters
meters.begin(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    meters.count("turns_total", adapter="a", state="done")
    meters.observe("turn_seconds", 2.0, adapter="a")
meters.hold("leases_held", 3, lane="thread")
if sys.argv[3] == "wait":
    print("counted", flush=True)
    sys.stdin.read()
else:
    sys.stdout.write(meters.text()[1].decode())
"""


def counting(folder: Path, times: int, then: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COUNTS, str(folder), str(times), then]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def value(text: str, name: str) -> float:
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + " "))


DONE = 'heyfleet_turns_total{adapter="a",state="done"}'
SUM = 'heyfleet_turn_seconds_sum{adapter="a"}'
HELD = 'heyfleet_leases_held{lane="thread"}'


def test_every_process_of_a_host_is_in_what_any_of_them_tells(tmp_path: Path) -> None:
    others = [counting(tmp_path, times, "wait") for times in (2, 5)]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "counted\n"
    text, _ = counting(tmp_path, 1, "tell").communicate(timeout=60)
    assert (value(text, DONE), value(text, SUM), value(text, HELD)) == (8, 16, 9)
    # Killed, they leave what they have counted, and hold nothing any more.
    for other in others:
        other.kill()
        other.communicate()
    for times in range(1, 4):
        text, _ = counting(tmp_path, 0, "tell").communicate(timeout=60)
        assert (value(text, DONE), value(text, SUM), value(text, HELD)) == (8, 16, 3)
        files = [path.name for path in tmp_path.glob("metrics/*/*.db")]
        assert len(files) <= 6, f"of each dead process a file stays, after {times}: {files}"


def test_until_it_has_begun_nothing_is_counted() -> None:
    code = "from app import meters; meters.count('turns_total', adapter='a', state='done'); print(meters.text()[1])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heyfleet" not in found.stdout


def test_a_fork_counts_for_itself(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from app import meters
meters.begin(Path({str(tmp_path)!r}))
meters.count("turns_total", adapter="a", state="done")
if os.fork() == 0:
    meters.count("turns_total", 2, adapter="a", state="done")
    os._exit(0)
os.wait()
print(meters.text()[1].decode())
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert value(found.stdout, DONE) == 3
    assert multiprocessing.active_children() == []


def test_the_documentation_has_every_figure_with_its_labels_and_its_meaning() -> None:
    text = DOCS.read_text()
    assert documented(HELP) in text, "python -m app.ingress.metrics prints what belongs there"
    assert len({meter.name for meter in METERS}) == len(METERS)


def test_without_room_nothing_is_measured_and_the_process_goes_on(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from pathlib import Path
from app import meters
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
meters.begin(Path({str(tmp_path)!r}))
meters.count("turns_total", adapter="a", state="done")
print("went on", b"heyfleet" in meters.text()[1])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "went on False" in found.stdout
    assert "not_measured" in found.stdout + found.stderr


def test_what_nobody_has_written_to_for_a_day_is_deleted(tmp_path: Path) -> None:
    """Of containers that are gone, each of which had a folder of its own."""
    old, recent = tmp_path / "metrics" / "old-1", tmp_path / "metrics" / "recent-2"
    for folder in (old, recent):
        folder.mkdir(parents=True)
        (folder / "counter_1.db").write_bytes(b"")
    then = time.time() - DAY - 60
    os.utime(old / "counter_1.db", (then, then))
    process = counting(tmp_path, 1, "end")
    assert value(process.communicate(timeout=30)[0], DONE) == 1
    assert not old.exists()
    assert recent.exists()
