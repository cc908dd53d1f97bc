"""What the verbs of Slack, Telegram and Discord share: which adapter is meant, addresses, and lines as they come."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer

from app.cli.context import one_line, show
from app.config.adapters import ChatAdapter
from app.config.settings import LOOPBACK, Settings
from app.errors import Refused
from app.log import configure

Kind = TypeVar("Kind", bound=ChatAdapter)

AdapterName = Annotated[str | None, typer.Option("--adapter", help="Which one, where several are configured.")]
Query = Annotated[str, typer.Argument(help="Only what has this in its name, or as its id.")]
Seconds = Annotated[int, typer.Option("--seconds", min=1, max=3600, help="How long to listen.")]
Url = Annotated[str, typer.Option("--url", help="https://HOST, where the provider reaches this fleet's web process.")]


def chosen(context: typer.Context, kind: type[Kind], name: str | None) -> Kind:
    """The adapter that a verb is about. Raises Refused and ConfigError."""
    settings = context.obj.settings()
    configure("error", "console", "cli")
    return only(settings, kind, name)


def only(settings: Settings, kind: type[Kind], name: str | None) -> Kind:
    """Raises Refused where there is none of this kind and name, or more than one."""
    word, found = word_of(kind), of_kind(settings, kind)
    names = ", ".join(adapter.name for adapter in found)
    if not found:
        raise Refused(
            f"there is no {word} adapter: add one under adapters in heyfleet.yaml; heyfleet {word} env shows how"
        )
    if name is not None:
        found = [adapter for adapter in found if adapter.name == name]
        if not found:
            raise Refused(f"there is no {word} adapter {name!r}: there is {names}")
    if len(found) > 1:
        raise Refused(f"there are several {word} adapters: say which with --adapter ({names})")
    return found[0]


def of_kind(settings: Settings, kind: type[Kind]) -> list[Kind]:
    return [adapter for adapter in settings.adapters if isinstance(adapter, kind)]


def word_of(kind: type[ChatAdapter]) -> str:
    return kind.__name__.removesuffix("Adapter").lower()


def public_url(text: str, path: str) -> str:
    """The address of `path` behind what `--url` says. Raises Refused."""
    try:
        parts = urlsplit(text)
        named, port = bool(parts.hostname), parts.port
    except ValueError:
        named, port, parts = False, None, urlsplit("")
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    plain = not (parts.query or parts.fragment or parts.username or parts.password) and port != 0
    if not (secure and named and plain):
        # Not quoted: it may have a password in it.
        raise Refused("--url must be https://HOST, with nothing but a path after it: where this fleet is reached")
    return f"{text.rstrip('/')}{path}"


def show_as_they_come(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, nothing: str
) -> None:
    """A line for each, at once; with `as_json` an array in the end."""
    if as_json:
        show(rows, columns, as_json=True, nothing=nothing)
        return
    count = 0
    for row in rows:
        if not count:
            sys.stderr.write("\t".join(column.replace("_", " ") for column in columns) + "\n")
        count += 1
        sys.stdout.write("\t".join(one_line(row[column]) for column in columns) + "\n")
        sys.stdout.flush()
    if not count:
        sys.stderr.write(nothing + "\n")


def note(text: str) -> None:
    """Something to know that is no part of what was asked for."""
    sys.stderr.write(f"({text})\n")


def fits(query: str, identity: str, *names: str) -> bool:
    """Whether a search means this one."""
    return query == identity or any(query.casefold() in name.casefold() for name in names)


def snippet(kind: str, lines: Sequence[str], variables: Mapping[str, str], ids: str) -> str:
    """What `env` prints: an entry of heyfleet.yaml, and the names of the variables for .env with where each is found.
    Without any value: those are the reader's to fill in."""
    entry = "\n".join([f"  - kind: {kind}", *(f"    {line}" for line in lines)])
    names = "\n".join(f"# {where}\n{name}=" for name, where in variables.items())
    return f"# heyfleet.yaml\nadapters:\n{entry}\n    # {ids}\n\n# .env\n{names}\n"
