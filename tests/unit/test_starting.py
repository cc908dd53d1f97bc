"""How processes start, and how they end while they do."""

from __future__ import annotations

import subprocess
import sys

from app.starting import EXIT_CODE

STARTING = """
import sys, time
from app.starting import exit_code

def run():
    try:
        print("starting", flush=True)
        time.sleep(60)
    finally:
        print("said that it ends", flush=True)

sys.exit(exit_code("worker", run))
"""


def test_a_process_that_is_stopped_while_it_starts_ends_in_order() -> None:
    """Before Celery, or whatever it runs, has a handler for the signal."""
    process = subprocess.Popen([sys.executable, "-c", STARTING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    process.terminate()
    rest, _ = process.communicate(timeout=20)
    assert (rest, process.returncode) == ("said that it ends\n", 0)


STUBBORN = """
import sys, time
from app import starting
starting.STOP_SECONDS = 0.2

def run():
    print("starting", flush=True)
    try:
        time.sleep(60)
    except SystemExit:
        time.sleep(60)

sys.exit(starting.exit_code("worker", run))
"""


def test_one_that_takes_no_notice_is_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == EXIT_CODE
