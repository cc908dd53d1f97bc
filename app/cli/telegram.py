"""`heyfleet telegram …`. What needs an HTTP client is loaded by the verb that asks Telegram."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from app.cli.checks_of_adapters import leaders
from app.cli.context import AsJson
from app.cli.findings import tell
from app.cli.providers import AdapterName, Seconds, Url, chosen, note, public_url, show_as_they_come, snippet
from app.config.adapters import TelegramAdapter
from app.errors import HeyfleetError, Refused

app = typer.Typer(help="A bot of Telegram's: set it up, check it, find ids.", no_args_is_help=True)

COLUMNS = ("chat", "title", "topic", "user", "name")


@app.command()
def check(context: typer.Context, adapter: AdapterName = None, as_json: AsJson = False) -> None:
    """Ask Telegram whether token, mode and updates are right; exit code 1 where something is wrong."""
    settings = chosen(context, TelegramAdapter, adapter)
    from app.cli.telegram_account import findings

    tell(findings(settings), as_json=as_json)


@app.command()
def observe(
    context: typer.Context, seconds: Seconds = 30, adapter: AdapterName = None, as_json: AsJson = False
) -> None:
    """Show where messages come from and from whom, to find the ids for the configuration. Nothing is used up by it."""
    settings = chosen(context, TelegramAdapter, adapter)
    refuse_while_polled(context, settings.name)
    from app.cli.telegram_account import observed

    note(f"{seconds} s: write to the bot, or to a group that it is in; a gateway gets what is shown here as well")
    nothing = "Nothing has come: in groups a bot gets only commands, mentions and replies (heyfleet telegram check)."
    show_as_they_come(observed(settings, seconds), COLUMNS, as_json=as_json, nothing=nothing)


def refuse_while_polled(context: typer.Context, name: str) -> None:
    """Asking would take the turn of a gateway that polls, before Telegram told either. Raises Refused."""
    try:
        leader = leaders(context.obj.settings(), [f"telegram {name}"]).get(f"telegram {name}")
    except HeyfleetError:
        return  # No database, no fleet that polls; whoever else does is told of by Telegram.
    if leader is not None:
        raise Refused(f"a gateway of this fleet polls ({leader}): stop it meanwhile, or see heyfleet threads for ids")


@app.command("set-webhook")
def set_verb(context: typer.Context, url: Url, adapter: AdapterName = None) -> None:
    """Have Telegram post updates to this fleet, and put the command into the bot's menu."""
    settings = chosen(context, TelegramAdapter, adapter)
    from app.cli.telegram_account import path_of, set_webhook

    address = public_url(url, path_of(settings))
    set_webhook(settings, address)
    sys.stdout.write(f"Telegram posts to {address} now; the bot's menu has /{settings.command}\n")
    if settings.mode == "polling":
        note(f"adapter {settings.name} has mode: polling, which gets nothing now: set mode: webhook")


@app.command("delete-webhook")
def delete_verb(context: typer.Context, adapter: AdapterName = None) -> None:
    """Have Telegram keep updates until it is asked for them. What waits is not lost."""
    settings = chosen(context, TelegramAdapter, adapter)
    from app.cli.telegram_account import delete_webhook

    delete_webhook(settings)
    sys.stdout.write("no webhook is set any more; what waits is for who asks\n")
    if settings.mode == "webhook":
        note(f"adapter {settings.name} has mode: webhook, and hears nothing now: set mode: polling")


@app.command()
def env(
    mode: Annotated[Literal["polling", "webhook"], typer.Option("--mode", help="As the adapter's.")] = "polling",
) -> None:
    """Print what to put into heyfleet.yaml and .env, without values."""
    lines = ["name: telegram", f"mode: {mode}", "bot_token: ${TELEGRAM_BOT_TOKEN}"]
    lines += ["# allow: {chats: [-100…], users: [7…]}", "# permissions: {approvers: {users: [7…]}}"]
    variables = {"TELEGRAM_BOT_TOKEN": "what @BotFather says after /newbot"}
    sys.stdout.write(snippet("telegram", lines, variables, "heyfleet telegram observe shows the ids"))
