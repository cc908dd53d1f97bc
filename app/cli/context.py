"""What the verbs share: the configuration named on the command line, connections, and how rows are shown."""

from __future__ import annotations

import dataclasses
import getpass
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from app.bootstrap import Core, core
from app.config.load import Loaded, load
from app.config.settings import Settings
from app.control.desk import Order
from app.errors import Refused
from app.log import configure
from app.policy.people import Person
from app.questions import visible
from app.services.addresses import resolve

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table for people.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most, the latest ones.")]


@dataclass(frozen=True, slots=True)
class Context:
    """What was said before the verb."""

    config: Path | None

    def loaded(self) -> Loaded:
        """The settings and where they come from. Raises ConfigError with everything that is wrong."""
        return load(self.config)

    def settings(self) -> Settings:
        """Raises ConfigError with everything that is wrong."""
        return self.loaded().settings


class Stop(Exception):
    """End with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def connected(context: typer.Context) -> Iterator[Core]:
    """The services of one verb. Raises Unavailable where the fleet's Postgres or Redis can't be found."""
    settings = context.obj.settings()
    configure("warning", "console", "cli")
    addresses = resolve(settings)
    found = core(lambda: settings, addresses.database_url, addresses.redis_url, "cli", pool_size=2)
    try:
        yield found
    finally:
        found.close()


def operator() -> Order:
    """Whoever is at this shell gives the order, and may."""
    return Order(Person(getpass.getuser(), operator=True), "cli", None)


def failed(message: str) -> None:
    """Say what went wrong on stderr, and end with exit code 1."""
    sys.stderr.write(f"heyfleet: {message}\n")
    sys.exit(1)


def show(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, nothing: str) -> None:
    """A table on a terminal, tab-separated lines in a pipe, a JSON array where asked for."""
    found = [{column: row[column] for column in columns} for row in rows]
    if as_json:
        sys.stdout.write(json.dumps(found, default=plain, indent=2) + "\n")
    elif not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(one_line(row[column]) for column in columns) + "\n" for row in found)
    elif not found:
        sys.stdout.write(nothing + "\n")
    else:
        from rich.console import Console  # noqa: PLC0415 (what shows no table does without)
        from rich.table import Table  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")
        for row in found:
            table.add_row(*(one_line(row[column]) for column in columns))
        Console().print(table, markup=False)


def one_line(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, default=plain)
    text = str(plain(value)) if value is not None else ""
    return visible(" ".join(text.split()))


def plain(value: Any) -> Any:
    """A value as JSON and people read it."""
    if isinstance(value, datetime):
        return value.astimezone().isoformat(timespec="seconds")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dict | list):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def id_of(text: str, what: str) -> UUID:
    """An id from the command line. Raises Refused."""
    try:
        return UUID(text)
    except ValueError as error:
        where = "deliveries list" if what == "delivery" else f"{what}s"
        raise Refused(f"{text!r} is no {what} id: copy one from heyfleet {where}") from error
