"""How processes start, and how they end while they do."""

from __future__ import annotations

import subprocess
import sys

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
