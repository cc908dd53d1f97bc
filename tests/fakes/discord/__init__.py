"""A fake Discord: its HTTP API, its gateway and its people, that refuse what the real one refuses.

    with serving_discord() as fake:
        guild = fake.guild("lab")
        channel = fake.channel(guild, "general")
        fake.say(channel, fake.person("Ann"), "hello")
        assert fake.messages(channel)[-1].content == "hi"

The API is at `{fake.origin}/api/v10`; where the gateway is, `GET /gateway/bot` tells. Calls are named for `plan` and
`called` by their templates: "POST /channels/{id}/messages".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

# The routes are known once these are imported.
from tests.fakes.discord import commands, interactions, lookups, posts, refusals
from tests.fakes.discord.bodies import Ask, read
from tests.fakes.discord.limits import limited
from tests.fakes.discord.people import HttpResult, People
from tests.fakes.discord.refusals import Refused, invalid
from tests.fakes.discord.routes import find, is_known
from tests.fakes.discord.world import Channel, Guild, Message, Person, Role
from tests.fakes.provider import Answer, Request, serving

__all__ = ["Channel", "FakeDiscord", "Guild", "HttpResult", "Message", "Person", "Role", "serving_discord"]
ROUTES_OF = (commands, interactions, lookups, posts)
FILES = "/attachments/"


class FakeDiscord(People):
    # --- the gateway, as tests know it

    @property
    def sessions(self) -> dict[int, int]:
        """How many connections with a session are open, by shard."""
        return self.gateway.counts()

    @property
    def most_sessions(self) -> int:
        """The most that were open at once for one shard."""
        return self.gateway.most

    def drop_gateway(self, code: int | None = None) -> None:
        """End every connection, without a goodbye or with a close code; the sessions stay."""
        self.gateway.drop(code)

    def reconnect(self, seconds: float = 5) -> None:
        """Ask every client to reconnect; who has not after that time is closed."""
        self.gateway.reconnect(seconds)

    def invalidate(self, resumable: bool = False) -> None:
        """Tell every client that its session is over; the connections stay."""
        self.gateway.invalidate(resumable)

    def expire_sessions(self) -> None:
        """No session that there is now can be resumed any more."""
        self.gateway.expire()

    # --- the API

    def name_of(self, request: Request) -> str:
        if request.path.startswith(FILES):
            return f"{request.method} /attachments/{{id}}/{{id}}/{{name}}"
        found = find(request.method, request.path)
        return found[0].name if found else f"{request.method} {request.path}"

    def params_of(self, request: Request) -> Mapping[str, Any]:
        """The body's fields and the query's; `ids` are those of the path, `files` the names of the files."""
        found = find(request.method, request.path)
        try:
            body, files = read(request) if request.body else ({}, [])
        except (Refused, ValueError):
            body, files = {}, []
        fields = body if isinstance(body, dict) else {"list": body}
        names = {"files": [file.filename for file in files]} if files else {}
        return {**request.query, **fields, **names, "ids": found[1] if found else ()}

    def answer(self, name: str, request: Request) -> Answer:
        if request.path.startswith(FILES):
            file = self.download(request)
            kind = {"Content-Type": file.content_type if file else "text/plain"}
            return (
                Answer(200, file.content, kind) if file else Answer(404, b"This content is no longer available.", kind)
            )
        self._check_agent(name, request)
        found = find(request.method, request.path)
        if found is None:
            return Refused(*(refusals.NOT_ALLOWED if is_known(request.path) else refusals.NOT_FOUND)).answer()
        route, ids = found
        if route.token and request.headers.get("authorization") != f"Bot {self.token}":
            return Refused(*refusals.UNAUTHORIZED).answer()
        key = ids[0] if ids else ""
        if not self.lenient and (over := self.limits.refusal(name, key, exempt=not route.token)):
            self.violated(over[1])
            return over[0]
        try:
            if misnamed := route.misnamed(ids):
                raise invalid("id", "NUMBER_TYPE_COERCE", f'Value "{misnamed}" is not snowflake.')
            answered = route.handler(self, Ask(request, ids))
        except Refused as refused:
            answered = refused.answer()
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            # A body of quite another shape than those that the rules look at.
            self.problems.append(f"{name}: the fake cannot read this: {error!r}")
            answered = invalid("", "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType").answer()
        headers = {} if self.lenient else self.limits.headers(name, key)
        # The body as it is now: what it is made of may change before it is sent.
        body = json.dumps(answered.body).encode() if answered.status != 204 else b""
        return replace(answered, body=body, headers={**answered.headers, **headers})

    def too_many(self, seconds: float, everywhere: bool) -> Answer:
        return limited(seconds, everywhere=everywhere)

    def broken(self) -> Answer:
        return Answer(500, {"message": "500: Internal Server Error", "code": 0})

    def _check_agent(self, name: str, request: Request) -> None:
        """https://docs.discord.com/developers/reference#user-agent"""
        agent = request.headers.get("user-agent", "")
        if not re.match(r"DiscordBot \(\S+, [^)\s]+\)", agent):
            self.problems.append(f"{name}: the User-Agent is not DiscordBot (url, version): {agent!r}")


@contextmanager
def serving_discord() -> Iterator[FakeDiscord]:
    """The API and the gateway on ports of their own, until the block ends."""
    fake = FakeDiscord()
    with serving(fake), fake.gateway.serving():
        yield fake
