"""`heyfleet slack …`. What needs Slack's library is loaded by the verb that asks Slack."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

import typer
import yaml

from app.cli.context import AsJson, show
from app.cli.findings import tell
from app.cli.providers import AdapterName, Query, chosen, fits, note, of_kind, only, public_url, snippet
from app.cli.slack_manifest import manifest
from app.config.adapters import SlackAdapter
from app.errors import ConfigError, Refused

app = typer.Typer(help="An app of Slack's: set it up, check it, find ids.", no_args_is_help=True)

CHANNELS = ("id", "name", "private", "bot_is_in", "members")
USERS = ("id", "name", "display_name", "real_name", "bot")

Mode = Literal["http", "socket"]
SECOND = {
    "http": ("signing_secret", "Basic Information: Signing Secret"),
    "socket": ("app_token", "Basic Information: App-Level Tokens, one with connections:write (xapp-…)"),
}
"""What each mode needs besides the bot's token, and where it is found."""


@app.command()
def check(context: typer.Context, adapter: AdapterName = None, as_json: AsJson = False) -> None:
    """Ask Slack whether tokens, scopes and connection are right; exit code 1 where something is wrong."""
    settings = chosen(context, SlackAdapter, adapter)
    from app.cli.slack_account import findings

    tell(findings(settings), as_json=as_json)


@app.command("manifest")
def print_manifest(
    context: typer.Context,
    mode: Annotated[Mode | None, typer.Option("--mode", help="As the adapter's; http where there is none.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="For http: https://HOST, where Slack reaches you.")] = None,
    name: Annotated[str, typer.Option("--name", help="What people see the app as.")] = "heyfleet",
    adapter: Annotated[str | None, typer.Option("--adapter", help="Its name in heyfleet.yaml, for the URL.")] = None,
    command: Annotated[str | None, typer.Option("--command", help="The slash command.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of YAML.")] = False,
) -> None:
    """Print the manifest of an app: api.slack.com/apps, Create New App, From a manifest."""
    found = configured(context, adapter)
    if (mode or (found.mode if found else "http")) == "socket":
        address = None
    elif url is None:
        raise Refused("--url https://HOST is needed for http: where Slack reaches this fleet; or say --mode socket")
    else:
        address = public_url(url, f"/slack/{found.name if found else adapter or 'slack'}/events")
    made = manifest(name=name, command=command or (found.command if found else "/heyfleet"), url=address)
    as_yaml = yaml.safe_dump(made, sort_keys=False, allow_unicode=True)
    sys.stdout.write(json.dumps(made, indent=2, ensure_ascii=False) + "\n" if as_json else as_yaml)


def configured(context: typer.Context, name: str | None) -> SlackAdapter | None:
    """The adapter that the app is for, if it is there yet. Raises Refused where it is not said which."""
    try:
        settings = context.obj.settings()
    except ConfigError as error:
        # Without the app there are no tokens, and without tokens its adapter is wrong.
        note(f"heyfleet.yaml is left out: {error.problems[0]}")
        return None
    found = of_kind(settings, SlackAdapter)
    if name is not None:
        return next((adapter for adapter in found if adapter.name == name), None)
    return only(settings, SlackAdapter, None) if found else None


@app.command()
def channels(
    context: typer.Context,
    query: Query = "",
    private: Annotated[bool, typer.Option("--private", help="Also private ones that the bot is in.")] = False,
    adapter: AdapterName = None,
    as_json: AsJson = False,
) -> None:
    """Channels with their ids, which is what the configuration takes."""
    settings = chosen(context, SlackAdapter, adapter)
    from app.cli.slack_account import channels as there

    found = [row for row in there(settings, private=private) if fits(query.removeprefix("#"), row["id"], row["name"])]
    show(found, CHANNELS, as_json=as_json, nothing="There is no such channel that the bot may know of.")


@app.command()
def users(
    context: typer.Context,
    query: Query = "",
    bots: Annotated[bool, typer.Option("--bots", help="Also bots.")] = False,
    adapter: AdapterName = None,
    as_json: AsJson = False,
) -> None:
    """People with their ids, which is what the configuration takes."""
    settings = chosen(context, SlackAdapter, adapter)
    from app.cli.slack_account import users as there

    named = query.removeprefix("@")
    found = [
        row
        for row in there(settings, bots=bots)
        if fits(named, row["id"], row["name"], row["display_name"], row["real_name"])
    ]
    show(found, USERS, as_json=as_json, nothing="There is nobody of that name.")


@app.command()
def env(mode: Annotated[Mode, typer.Option("--mode", help="As the adapter's.")] = "http") -> None:
    """Print what to put into heyfleet.yaml and .env, without values."""
    key, where = SECOND[mode]
    variables = {
        "SLACK_BOT_TOKEN": "OAuth & Permissions: Bot User OAuth Token (xoxb-…)",
        f"SLACK_{key.upper()}": where,
    }
    lines = ["name: slack", f"mode: {mode}", "bot_token: ${SLACK_BOT_TOKEN}", f"{key}: ${{SLACK_{key.upper()}}}"]
    lines += ["# allow: {channels: [C…], users: [U…]}", "# permissions: {approvers: {users: [U…]}}"]
    ids = "heyfleet slack channels and heyfleet slack users show the ids"
    sys.stdout.write(snippet("slack", lines, variables, ids))
