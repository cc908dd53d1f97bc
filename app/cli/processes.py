"""The verbs that start processes."""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import version as package_version
from pathlib import Path

import typer

from app import meters, tracing
from app.bootstrap import warn_of
from app.cli.banner import banner
from app.cli.services import migrate_apart
from app.cli.services import services as run_services
from app.errors import Refused
from app.log import configure
from app.report import report_errors
from app.revisions import missing
from app.services.addresses import wait_for
from app.starting import stop

PROCFILE = Path(__file__).resolve().parents[2] / "Procfile"


def start(context: typer.Context) -> None:
    """Start the whole fleet on this machine, in the foreground; Ctrl-C ends it."""
    named = {"HEYFLEET_CONFIG": str(context.obj.config.absolute())} if context.obj.config else {}
    honcho = Path(sys.executable).with_name("honcho")
    if not honcho.exists() or not PROCFILE.exists():
        raise Refused(
            f"{honcho if not honcho.exists() else PROCFILE} is missing: start from a checkout, with make start"
        )
    # The Procfile names programs of this environment.
    path = f"{honcho.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, **named, "PATH": path}
    os.execve(honcho, [str(honcho), "start", "-f", str(PROCFILE), "-d", str(Path.cwd())], environment)  # noqa: S606


def web(context: typer.Context) -> None:
    """Serve the ingress (a line of the Procfile)."""
    loaded = context.obj.loaded()
    settings = loaded.settings
    configure(settings.log.level, settings.log.format, "web")
    signal.signal(signal.SIGTERM, stop)
    report_errors(settings, "web")
    tracing.check(settings.tracing)
    meters.begin(settings.state_dir)
    warn_of(settings, {}, "web")
    addresses = wait_for(settings, also=lambda found: missing(found.database_url))
    from app.ingress.serve import serve  # noqa: PLC0415 (20 MB that the other verbs need not have)

    serve(loaded, addresses.database_url, addresses.redis_url)


def services(context: typer.Context) -> None:
    """Run the embedded Postgres and Redis, migrate, and say where everything is."""
    settings = context.obj.settings()
    configure(settings.log.level, settings.log.format, "services")
    run_services(settings, migrate_apart, lambda: banner(settings))


def version() -> None:
    """Print the version."""
    sys.stdout.write(f"heyfleet {package_version('heyfleet')}\n")
