"""What tests do as people: they come, write, react, use commands and press buttons."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx

from tests.fakes.discord.bodies import Ask
from tests.fakes.discord.drafts import EVERYBODY
from tests.fakes.discord.interactions import COMMAND, COMPONENT, PING, take
from tests.fakes.discord.refusals import Refused
from tests.fakes.discord.sessions import INTENTS
from tests.fakes.discord.state import Interaction, State, is_system
from tests.fakes.discord.world import KINDS, REPLY, Attachment, Channel, Guild, Message, Person, Role
from tests.fakes.provider import Request

# By type of the value, where the command says nothing of it: string, integer, boolean, number.
OPTION_TYPES = {str: 3, int: 4, bool: 5, float: 10}


@dataclass(frozen=True)
class HttpResult:
    """What became of an interaction."""

    status: int = 0
    """0: it went over the gateway, or nobody answered."""
    body: Any = None
    seconds: float = 0.0
    in_time: bool = False
    interaction: Interaction | None = None
    message: Message | None = None
    """The one that the answer made or changed."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class People(State):
    # --- what there is

    def guild(self, name: str) -> Guild:
        with self.lock:
            made = Guild(self.snowflakes.next(), name)
            made.roles.append(Role(made.id, made, "@everyone"))
            self.guilds.append(made)
            self.tell("GUILD_CREATE", made, self.guild_create(made), INTENTS["GUILDS"])
            return made

    def role(self, guild: Guild, name: str) -> Role:
        with self.lock:
            made = Role(self.snowflakes.next(), guild, name)
            guild.roles.append(made)
            self.tell("GUILD_ROLE_CREATE", guild, {"guild_id": guild.id, "role": made.json()}, INTENTS["GUILDS"])
            return made

    def person(self, name: str, bot: bool = False, roles: Sequence[Role] = ()) -> Person:
        """A member of every guild, unless `guild.left` has the id."""
        with self.lock:
            made = Person(self.snowflakes.next(), name, bot, list(roles))
            self.people[made.id] = made
            return made

    def channel(self, guild: Guild | None, name: str, kind: str = "text", parent: Channel | None = None) -> Channel:
        """`kind` is one of `world.KINDS`; of a DM (without a guild) the name is a person's."""
        with self.lock:
            if kind == "dm":
                person = next((one for one in self.people.values() if one.name == name), None)
                return self.dm_with(person or self.person(name))
            made = Channel(self.snowflakes.next(), guild, name, KINDS[kind], parent=parent, owner_id=self.bot.id)
            if made.is_thread and parent is None:
                assert guild is not None
                made.parent = next(one for one in guild.channels if not one.is_thread)
            self.add_channel(made)
            return made

    # --- what people write

    def messages(self, channel: Channel | str) -> list[Message]:
        """In order, people's too; without what was deleted and what Discord adds itself."""
        with self.lock:
            found = self.channels[channel] if isinstance(channel, str) else channel
            return [one for one in found.history if not is_system(one)]

    def say(
        self,
        channel: Channel,
        person: Person,
        content: str,
        reply_to: Message | None = None,
        attachments: Sequence[tuple[str, bytes] | tuple[str, bytes, str]] = (),
        webhook: bool = False,
    ) -> Message:
        """`attachments` are (name, bytes) or (name, bytes, type). `webhook`: not a member, but a webhook writes."""
        with self.lock:
            message = Message(self.snowflakes.next(), channel, person, content)
            message.attachments = [self._file(*one) for one in attachments]
            if reply_to is not None:
                message.reference, message.kind = reply_to.id, REPLY
            message.webhook_id = self.snowflakes.next() if webhook else None
            self.set_mentions(message, None, EVERYBODY)
            return self.add(message)

    def _file(self, name: str, content: bytes, content_type: str = "application/octet-stream") -> Attachment:
        return Attachment(self.snowflakes.next(), name, content, content_type)

    def edit(self, message: Message, content: str) -> None:
        with self.lock:
            message.content = content
            self.set_mentions(message, None, EVERYBODY)
            self.change(message)

    def delete(self, message: Message) -> None:
        with self.lock:
            self.remove(message)

    def react(self, message: Message, person: Person, emoji: str) -> None:
        with self.lock:
            self.set_reaction(message, person, emoji)

    def thread(self, message: Message, person: Person, name: str) -> Channel:
        """Somebody starts one from a message."""
        with self.lock:
            return self.start_thread(message, name, person)

    # --- interactions

    def interact(
        self,
        url: str | None,
        person: Person,
        channel: Channel,
        command: str,
        options: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
        timeout: float = 15,
    ) -> HttpResult:
        """Use a slash command. Without a URL (here and in `interactions_url`) it goes over the gateway."""
        with self.lock:
            found = self._command(command, channel)
            data: dict[str, Any] = {"id": found["id"], "name": command, "type": 1}
            if given := self._options(found, options):
                data["options"] = given
            if found.get("guild_id"):
                data["guild_id"] = found["guild_id"]
            interaction = self._begin(COMMAND, person, channel, data)
        return self._send(url, interaction, timeout)

    def press(
        self, url: str | None, person: Person, message: Message, custom_id: str, values: Sequence[str] = ()
    ) -> HttpResult:
        """Press a button, or choose in a select; fails where a person could not."""
        with self.lock:
            found = next((one for one in message.buttons() if one.get("custom_id") == custom_id), None)
            if found is None or found.get("disabled"):
                raise LookupError(f"nothing to press named {custom_id} in {message.components}")
            data: dict[str, Any] = {"custom_id": custom_id, "component_type": found["type"], "id": 0}
            if values:
                data["values"] = list(values)
            interaction = self._begin(COMPONENT, person, message.channel, data, message)
        return self._send(url, interaction, 15)

    def ping(
        self, url: str, signature: str | None = None, timestamp: str | None = None, body: bytes | None = None
    ) -> HttpResult:
        """What Discord sends to see whether signatures are checked; a `signature` of "" is not sent at all.

        https://docs.discord.com/developers/interactions/overview#configuring-an-interactions-endpoint-url
        """
        with self.lock:
            interaction = Interaction(self.snowflakes.next(), "", PING, self.bot, Channel("0", None, "", 1), {})
        shown = {"id": interaction.id, "application_id": self.application_id, "type": PING, "token": "", "version": 1}
        raw = json.dumps(shown).encode() if body is None else body
        return self._post(url, interaction, raw, 15, signature, timestamp)

    def _command(self, name: str, channel: Channel) -> Mapping[str, Any]:
        guild = self.commands.get(channel.guild.id, []) if channel.guild else []
        known = [*guild, *self.commands.get("", [])]
        found = next((one for one in known if one["name"] == name), None)
        if found is None and self.commands:
            raise LookupError(f"no command /{name} is registered here: {[one['name'] for one in known]}")
        # A test that registers none may use any.
        return found or {"id": self.snowflakes.next(), "name": name}

    def _options(
        self, command: Mapping[str, Any], options: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> list[Any]:
        if not isinstance(options, Mapping):
            return list(options)
        types = {one["name"]: one["type"] for one in command.get("options") or []}
        return [
            {"name": name, "type": types.get(name, OPTION_TYPES[type(value)]), "value": value}
            for name, value in options.items()
        ]

    def _begin(
        self, kind: int, person: Person, channel: Channel, data: dict[str, Any], message: Message | None = None
    ) -> Interaction:
        made = Interaction(self.snowflakes.next(), "", kind, person, channel, data, message)
        made.token = f"interaction-{made.id}-{self.snowflakes.next()}"
        self.interactions[made.token] = made
        return made

    def interaction_json(self, interaction: Interaction) -> dict[str, Any]:
        """https://docs.discord.com/developers/interactions/receiving-and-responding#interaction-object"""
        channel, person = interaction.channel, interaction.person
        shown = {"id": interaction.id, "application_id": self.application_id, "type": interaction.type, "version": 1}
        shown |= {"token": interaction.token, "data": interaction.data, "channel_id": channel.id, "entitlements": []}
        shown["channel"] = {**channel.json(), "permissions": channel.permissions()}
        shown |= {"app_permissions": channel.permissions(), "locale": "en-US"}
        shown["attachment_size_limit"] = self.largest_file
        if interaction.message is not None:
            shown["message"] = self.json_of(interaction.message)
        guild = channel.guild
        owner = {"0": guild.id if guild else "0"}
        if guild is None:
            return {**shown, "user": person.json(), "context": 1, "authorizing_integration_owners": owner}
        shown |= {"guild_id": guild.id, "guild": {"id": guild.id, "locale": "en-US", "features": []}}
        shown["member"] = {**guild.member(person), "permissions": channel.permissions()}
        return {**shown, "guild_locale": "en-US", "context": 0, "authorizing_integration_owners": owner}

    def _send(self, url: str | None, interaction: Interaction, timeout: float) -> HttpResult:
        target = url or self.interactions_url
        shown = self.interaction_json(interaction)
        if target is None:
            with self.lock:
                self.tell("INTERACTION_CREATE", interaction.channel.guild, shown)
            return HttpResult(interaction=interaction)
        return self._post(target, interaction, json.dumps(shown).encode(), timeout)

    def _post(
        self,
        url: str,
        interaction: Interaction,
        raw: bytes,
        timeout: float,
        signature: str | None = None,
        timestamp: str | None = None,
    ) -> HttpResult:
        """Signed; the answer is done if it came in time. It is waited for longer, so that tests see what came."""
        at = timestamp or str(int(time.time()))
        signed = self.key.sign(at.encode() + raw).hex() if signature is None else signature
        headers = {"Content-Type": "application/json", "User-Agent": "Discord-Interactions/1.0 (+https://discord.com)"}
        headers |= {"X-Signature-Ed25519": signed, "X-Signature-Timestamp": at} if signed else {}
        begun = interaction.at = time.monotonic()
        try:
            response = httpx.post(url, content=raw, headers=headers, timeout=timeout)
        except httpx.HTTPError:
            interaction.failed = interaction.answered is None
            return HttpResult(seconds=time.monotonic() - begun, interaction=interaction)
        seconds = time.monotonic() - begun
        with self.lock:
            return self._answered(interaction, response, seconds)

    def _answered(self, interaction: Interaction, response: httpx.Response, seconds: float) -> HttpResult:
        in_time = seconds <= self.answer_seconds
        message: Message | None = None
        # 202 without a body: the answer came, or comes, by a call.
        promised = response.status_code == 202 and not response.content
        if in_time and response.status_code == 200:
            request = Request(
                "POST", "", {}, {"content-type": response.headers.get("content-type", "")}, response.content
            )
            try:
                message = take(self, Ask(request, ()), interaction, "http")
            except Refused as refused:
                self.problems.append(f"the answer to interaction {interaction.id} is not one: {refused}")
        if interaction.answered is None and not (promised and in_time):
            interaction.failed = True
        try:
            body = response.json()
        except ValueError:
            body = response.text or None
        found = dict(response.headers)
        return HttpResult(response.status_code, body, seconds, in_time, interaction, message, found)
