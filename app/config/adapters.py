"""The adapters of heyfleet.yaml: one entry for each connection to a chat provider."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, SecretStr, Tag, model_validator

from app.config.section import Section
from app.config.units import Duration, Size


def as_text(value: object) -> object:
    """Some providers' ids are numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[str, BeforeValidator(as_text)]


class People(Section):
    users: list[Id] = []
    """As the provider names them: its ids."""
    groups: list[Id] = []
    """Slack user groups, Discord roles."""


class Reach(People):
    """Who may talk with an agent. What is listed must match: the place, and the person (by user or group)."""

    dms: bool = True
    """Whether they may write to the bot alone."""
    bots: bool | list[Id] = False
    """Whether other bots may; or which."""


class Allow(Reach):
    channels: list[Id] = []
    """Empty: every channel that the bot is in."""


class TelegramAllow(Reach):
    chats: list[Id] = []
    """Empty: every group that the bot is in."""

    @property
    def channels(self) -> list[str]:
        return self.chats


class Permissions(Section):
    approvers: People | None = None
    """Who may answer approvals. Unset, and with no admins: whoever can see the thread, except for bots."""
    admins: People | None = None
    """Approvers who may also cancel anything."""


class AdapterBase(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    agent: str = "default"
    permissions: Permissions = Permissions()


class WebhookAdapter(AdapterBase):
    kind: Literal["webhook"]
    allow: People | None = None
    """Who may talk with the agent; unset: whoever gets through to the adapter."""
    secret: SecretStr | list[SecretStr] | None = None
    """One or several in force at once; without one, a secret is made and kept under `state_dir`."""
    reply_urls: list[str] = []
    reply_origins: list[str] = []
    reply_hosts: list[str] = []
    unsafe_reply_http: bool = False
    reply_timeout: Duration = 10.0
    max_body_bytes: Size = 1_000_000
    max_in_flight: int = Field(default=1000, ge=1)
    """Unfinished turns of this adapter in the whole fleet."""


class LocalAdapter(AdapterBase):
    kind: Literal["local"]
    allow: People | None = None


class Response(Section):
    continue_recent: Duration = 300.0
    """For how long the same person's next message in a channel without threads goes on with their conversation."""


class ChatAdapter(AdapterBase):
    """What chat providers have in common."""

    trigger: Literal["mention", "message"] = "mention"
    """What starts a conversation in a channel."""
    thread_trigger: Literal["message", "mention", False] = "message"
    """What goes on with one, in a thread where the agent answered before. false: nothing does."""
    streaming: bool = False
    """Whether the reply can be read while the model still writes it."""
    response: Response = Response()
    progress: bool = True
    """Whether a message shows, by a reaction to it, that the agent is at work on it."""


class SlackResponse(Response):
    placement: Literal["auto", "thread", "same", "channel"] = "auto"
    """Where replies go. auto: into a thread, but in direct messages; same: where the message is."""
    broadcast: bool = False
    """Whether replies in threads are shown in the channel too."""


class SlackAdapter(ChatAdapter):
    kind: Literal["slack"]
    allow: Allow | None = None
    """Who may talk with the agent; unset: whoever can write to the bot, but for other bots."""
    mode: Literal["http", "socket"] = "http"
    """http: Slack posts events to /slack/NAME/events; socket: the gateway process holds a connection to Slack."""
    bot_token: SecretStr
    """xoxb-…"""
    signing_secret: SecretStr | list[SecretStr] | None = None
    """For http. Several are in force at once, while one is replaced."""
    app_token: SecretStr | None = None
    """For socket: xapp-…"""
    command: str = Field(default="/heyfleet", pattern=r"^/[a-z0-9_-]{1,31}$")
    """The slash command."""
    response: SlackResponse = SlackResponse()
    api_url: str = Field(default="https://slack.com/api/", pattern=r"^https?://\S+/$")

    @model_validator(mode="after")
    def has_what_its_mode_needs(self) -> SlackAdapter:
        if self.mode == "http" and not self.signing_secret:
            raise ValueError("signing_secret is needed to tell Slack's requests from others; or set mode: socket")
        if self.mode == "socket" and self.app_token is None:
            raise ValueError("app_token (xapp-…) is needed for mode: socket; or set mode: http and signing_secret")
        return self


class PlainResponse(Response):
    placement: Literal["auto", "same", "reply"] = "auto"
    """auto: as a reply to the message in channels without threads; same: never; reply: always."""


class TelegramAdapter(ChatAdapter):
    kind: Literal["telegram"]
    allow: TelegramAllow | None = None
    """Who may talk with the agent; unset: whoever can write to the bot, but for other bots."""
    mode: Literal["polling", "webhook"] = "polling"
    """polling: the gateway process asks Telegram; webhook: Telegram posts to /telegram/NAME/webhook."""
    bot_token: SecretStr
    webhook_secret: SecretStr | None = None
    """What Telegram proves itself with; unset: one that is made of the token."""
    command: str = Field(default="heyfleet", pattern=r"^[a-z0-9_]{1,32}$")
    """The command in the bot's menu."""
    response: PlainResponse = PlainResponse()
    api_url: str = Field(default="https://api.telegram.org", pattern=r"^https?://\S+$")


class DiscordAdapter(ChatAdapter):
    kind: Literal["discord"]
    allow: Allow | None = None
    """Who may talk with the agent; unset: whoever can write to the bot, but for other bots."""
    bot_token: SecretStr
    public_key: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Where set, commands and buttons are posted to /discord/NAME/interactions; else they come by the gateway."""
    shards: int = Field(default=1, ge=1)
    """Connections that the gateway holds; Discord wants one for each 2500 guilds."""
    command: str = Field(default="heyfleet", pattern=r"^[a-z0-9_-]{1,32}$")
    """The slash command, registered when the gateway starts."""
    response: PlainResponse = PlainResponse()
    api_url: str = Field(default="https://discord.com/api/v10", pattern=r"^https?://\S+$")


class OtherAdapter(ChatAdapter):
    """Of a kind that another package brings; see docs/adapters/README.md."""

    kind: str
    allow: Allow | None = None
    """Who may talk with the agent; unset: whoever can write to the bot, but for other bots."""
    response: PlainResponse = PlainResponse()
    secrets: dict[str, SecretStr] = {}
    """Tokens and keys, as the kind's own documentation names them."""
    options: dict[str, str | int | float | bool] = {}
    """What else it wants to know."""


KINDS_OF_OTHERS = "heyfleet.adapters"
"""The entry-point group of packages that bring a kind: its name is the kind, its object makes the adapter."""
BUILT_IN = ("slack", "telegram", "discord", "webhook", "local")
OTHER = "of another package"


def kinds() -> list[str]:
    """All that there are here."""
    return [*BUILT_IN, *sorted(entry.name for entry in entry_points(group=KINDS_OF_OTHERS))]


def kind_of(value: Any) -> str | None:
    """Which section an entry is: by its kind, where that is one of ours. A built-in kind can't be taken over."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    if kind is None or kind in BUILT_IN:
        return kind
    return OTHER if kind in kinds() else str(kind)


Adapter = Annotated[
    Annotated[SlackAdapter, Tag("slack")]
    | Annotated[TelegramAdapter, Tag("telegram")]
    | Annotated[DiscordAdapter, Tag("discord")]
    | Annotated[WebhookAdapter, Tag("webhook")]
    | Annotated[LocalAdapter, Tag("local")]
    | Annotated[OtherAdapter, Tag(OTHER)],
    Discriminator(kind_of),
]
Chat = SlackAdapter | TelegramAdapter | DiscordAdapter | OtherAdapter
"""Those that people use from a chat program."""
