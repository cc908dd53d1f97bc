"""What `heyfleet doctor` asks the chat providers, and whether somebody holds what must be held for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.cli.findings import Finding
from app.config.adapters import Adapter, DiscordAdapter, SlackAdapter, TelegramAdapter
from app.config.settings import Settings
from app.db import Database
from app.errors import HeyfleetError
from app.services.addresses import database_url

HELD = "SELECT name, lease_owner FROM role WHERE name = ANY(:names) AND lease_until > now()"


def of_adapters(settings: Settings) -> Iterator[Finding]:
    """Each provider's library is loaded where one of its kind is configured."""
    for adapter in settings.adapters:
        yield from of_adapter(adapter)


def of_adapter(adapter: Adapter) -> Iterator[Finding]:
    match adapter:
        case SlackAdapter():
            from app.cli.slack_account import findings as of_slack

            yield from of_slack(adapter)
        case TelegramAdapter():
            from app.cli.telegram_account import findings as of_telegram

            yield from of_telegram(adapter)
        case DiscordAdapter():
            from app.cli.discord_account import findings as of_discord

            yield from of_discord(adapter)
        case _:
            pass


def gateway(settings: Settings) -> Iterator[Finding]:
    """Whether a gateway leads, where one is needed. Slack's sockets have no leader: each gateway has one."""
    wanted = [role for adapter in settings.adapters for role in roles_of(adapter)]
    if not wanted:
        return
    try:
        held = leaders(settings, wanted)
    except HeyfleetError:
        return  # told by `postgres`
    missing = [role for role in wanted if role not in held]
    if missing:
        yield Finding("gateway", "warning", f"nobody holds {', '.join(missing)}: start a gateway (python -m gateway)")
    else:
        said = ", ".join(f"{role} by {held[role]}" for role in wanted)
        yield Finding("gateway", "ok", f"held: {said}")


def roles_of(adapter: Adapter) -> list[str]:
    """What one process of the fleet must hold for it."""
    match adapter:
        case TelegramAdapter(mode="polling"):
            return [f"telegram {adapter.name}"]
        case DiscordAdapter():
            return [f"discord {adapter.name} {shard}" for shard in range(adapter.shards)]
        case _:
            return []


def leaders(settings: Settings, roles: Sequence[str]) -> dict[str, str]:
    """Who holds which. Raises Unavailable and ConfigError."""
    db = Database(database_url(settings), name="cli", pool_size=1)
    try:
        return {row.name: row.lease_owner for row in db.rows(HELD, names=list(roles))}
    finally:
        db.close()
