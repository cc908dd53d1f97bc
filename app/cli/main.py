"""`heyfleet`: one file per group of verbs; errors are one line on stderr that says what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli import (
    approvals,
    chat,
    config,
    database,
    deliveries,
    discord,
    doctor,
    events,
    jobs,
    processes,
    slack,
    status,
    telegram,
    threads,
    turns,
)
from app.cli.context import Context, Stop, failed
from app.errors import ConfigError, HeyfleetError

app = typer.Typer(
    name="heyfleet",
    help="Chat agents that run on a fleet.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain lines: an error is one line, also in a log
    epilog="Exit codes: 0 done, 1 it failed (why is on stderr), 2 the command line is wrong.",
)


@app.callback()
def options(
    context: typer.Context,
    config_path: Annotated[
        Path | None,
        typer.Option("--config", help="heyfleet.yaml to use instead of $HEYFLEET_CONFIG or ./heyfleet.yaml."),
    ] = None,
) -> None:
    context.obj = Context(config_path)


app.add_typer(approvals.app, name="approvals")
app.add_typer(config.config_app, name="config")
app.add_typer(database.app, name="db")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(discord.app, name="discord")
app.add_typer(jobs.app, name="jobs")
app.add_typer(slack.app, name="slack")
app.add_typer(telegram.app, name="telegram")
app.add_typer(turns.app, name="turns")
app.command("chat")(chat.chat)
app.command("doctor")(doctor.doctor)
app.command("events")(events.events)
app.command("services", hidden=True)(processes.services)
app.command("start")(processes.start)
app.command("status")(status.status)
app.command("thread")(threads.thread)
app.command("threads")(threads.threads)
app.command("version")(processes.version)
app.command("web", hidden=True)(processes.web)


def main() -> None:
    """The console script."""
    try:
        app()
    except ConfigError as error:
        failed("\n".join(error.problems))
    except HeyfleetError as error:
        failed(f"{error.message}{f' ({error.detail})' if error.detail else ''}")
    except Stop as stop:
        sys.exit(stop.code)
    except BrokenPipeError:
        # `heyfleet events | head`: the reader has seen enough.
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
