"""`python -m workers worker|runner|flower`: a process of the fleet."""

from __future__ import annotations

import os
import sys

from app import meters, tracing
from app.config.load import load
from app.log import configure
from app.report import report_errors
from app.revisions import missing
from app.services.addresses import wait_for
from app.starting import exit_code
from workers import flower, runner, worker

PROCESSES = {"worker": worker.run, "runner": runner.run, "flower": flower.run}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in PROCESSES:
        sys.stderr.write(f"usage: python -m workers {'|'.join(PROCESSES)}\n")
        return 2
    return exit_code(arguments[0], lambda: run(arguments[0]))


def run(name: str) -> None:
    loaded = load()
    settings = loaded.settings
    # The model libraries look for their keys (OPENAI_API_KEY …) in the environment; `.env` may have them.
    os.environ.update({name: value for name, value in loaded.environ.items() if name not in os.environ})
    configure(settings.log.level, settings.log.format, name)
    report_errors(settings, name)
    if name != "flower":
        meters.begin(settings.state_dir)
        tracing.begin(settings.tracing, name)
    addresses = wait_for(settings, also=lambda found: missing(found.database_url))
    PROCESSES[name](loaded, addresses.database_url, addresses.redis_url)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
