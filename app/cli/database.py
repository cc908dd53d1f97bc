"""`heyfleet db …`"""

from __future__ import annotations

import sys

import typer

from app.cli.context import Stop
from app.db import Database
from app.log import configure
from app.revisions import current, head, pending
from app.services.addresses import resolve

app = typer.Typer(help="The database.", no_args_is_help=True)


@app.command("migrate")
def migrate_verb(context: typer.Context) -> None:
    """Bring the database up to this version. Safe to repeat, and while older processes run."""
    settings = context.obj.settings()
    configure("warning", "console", "cli")
    url = resolve(settings).database_url
    from app.migrate import migrate, refuse_other_encodings  # noqa: PLC0415 (9 MB that `heyfleet web` need not have)

    refuse_other_encodings(url)
    before = current(url)
    migrate(url)
    sys.stdout.write(
        f"the database is at {head()}" + (" already\n" if before == head() else f", from {before or 'empty'}\n")
    )


@app.command()
def check(context: typer.Context) -> None:
    """Say whether the database is reachable and up to date; exit code 1 where it is not."""
    settings = context.obj.settings()
    configure("warning", "console", "cli")
    db = Database(resolve(settings).database_url, name="cli", pool_size=1)
    if pending(db):
        sys.stdout.write("migrations are pending: run heyfleet db migrate\n")
        raise Stop(1)
    sys.stdout.write(f"the database is up to date ({head()})\n")
