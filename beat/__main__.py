"""`python -m beat`: start it anywhere, any number of times."""

from __future__ import annotations

import sys

from celery import signals

from app.config.load import load
from app.errors import ConfigError, HeyfleetError
from app.log import configure
from app.queue import make_app
from app.report import report_errors
from app.services.addresses import wait_for
from beat.scheduler import FleetScheduler


def main() -> int:
    try:
        settings = load().settings
        configure(settings.log.level, settings.log.format, "beat")
        report_errors(settings, "beat")
        addresses = wait_for(settings)
    except ConfigError as error:
        sys.stderr.write("\n".join(error.problems) + "\n")
        return 1
    except HeyfleetError as error:
        sys.stderr.write(f"beat: {error.message}\n")
        return 1
    # Connecting to this signal keeps Celery from setting up logging of its own.
    signals.setup_logging.connect(keep_ours, weak=False)
    app = make_app(addresses.redis_url)
    app.Beat(scheduler_cls=FleetScheduler, max_interval=5, quiet=True).run()
    return 0


def keep_ours(**_: object) -> None:
    """Logging is configured already."""


if __name__ == "__main__":
    sys.exit(main())
