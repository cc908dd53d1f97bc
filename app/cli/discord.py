"""`heyfleet discord …`. What needs an HTTP client is loaded by the verb that asks Discord."""

from __future__ import annotations

import sys

import typer

from app.cli.context import AsJson, show
from app.cli.findings import tell
from app.cli.providers import AdapterName, Query, Seconds, chosen, fits, note, show_as_they_come, snippet
from app.config.adapters import DiscordAdapter

app = typer.Typer(help="A bot of Discord's: set it up, check it, find ids.", no_args_is_help=True)

CHANNELS = ("id", "name", "kind", "server", "server_id")
COLUMNS = ("channel", "channel_name", "user", "name", "bot", "server")


@app.command()
def check(context: typer.Context, adapter: AdapterName = None, as_json: AsJson = False) -> None:
    """Ask Discord whether token, intents and interactions are right; exit code 1 where something is wrong."""
    settings = chosen(context, DiscordAdapter, adapter)
    from app.cli.discord_account import findings

    tell(findings(settings), as_json=as_json)


@app.command()
def invite(context: typer.Context, adapter: AdapterName = None) -> None:
    """Print the address that adds the bot to a server, with the permissions that it needs."""
    settings = chosen(context, DiscordAdapter, adapter)
    from app.cli.discord_account import invitation

    sys.stdout.write(invitation(settings) + "\n")


@app.command()
def channels(context: typer.Context, query: Query = "", adapter: AdapterName = None, as_json: AsJson = False) -> None:
    """Channels with their ids, which is what the configuration takes."""
    settings = chosen(context, DiscordAdapter, adapter)
    from app.cli.discord_account import channels as there

    found = [row for row in there(settings) if fits(query.removeprefix("#"), row["id"], row["name"])]
    nothing = "There is no such channel: heyfleet discord invite prints the address that adds the bot to a server."
    show(found, CHANNELS, as_json=as_json, nothing=nothing)


@app.command()
def observe(
    context: typer.Context, seconds: Seconds = 30, adapter: AdapterName = None, as_json: AsJson = False
) -> None:
    """Show who writes in which channel, to find the ids for the configuration; the gateway is left alone.

    The channels are looked into over HTTP: direct messages and threads can't be.
    """
    settings = chosen(context, DiscordAdapter, adapter)
    from app.cli.discord_account import observed

    note(f"{seconds} s: the latest messages of the channels that the bot can read, then new ones; no DMs, no threads")
    nothing = "Nothing was written in a channel that the bot can read: heyfleet discord channels shows them all."
    show_as_they_come(observed(settings, seconds), COLUMNS, as_json=as_json, nothing=nothing)


@app.command()
def env() -> None:
    """Print what to put into heyfleet.yaml and .env, without values."""
    lines = ["name: discord", "bot_token: ${DISCORD_BOT_TOKEN}"]
    lines += ["# public_key: 64 hex digits, no secret; only to have commands and buttons posted over HTTP"]
    lines += ["# allow: {channels: ['1…'], users: ['2…'], groups: ['3…']}   # groups are roles"]
    lines += ["# permissions: {approvers: {users: ['2…']}}"]
    variables = {"DISCORD_BOT_TOKEN": "discord.com/developers/applications, Bot: Reset Token"}
    ids = "heyfleet discord channels and heyfleet discord observe show the ids"
    sys.stdout.write(snippet("discord", lines, variables, ids))
