"""The Web API: which methods there are, who may call them, and how they answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.fakes.provider import Answer, Request, serving
from tests.fakes.slack import chat, conversations, files, people
from tests.fakes.slack.arguments import Arguments, content_type, read
from tests.fakes.slack.refusals import Refused, TooMany
from tests.fakes.slack.responses import respond
from tests.fakes.slack.sockets import Sockets
from tests.fakes.slack.workspace import Workspace

Method = Callable[[Workspace, Arguments], dict[str, Any]]
# What each needs; those of `conversations` depend on the channel's kind, and look themselves.
METHODS: dict[str, tuple[Method, str]] = {
    "chat.postMessage": (chat.post_message, "chat:write"),
    "chat.update": (chat.update, "chat:write"),
    "chat.delete": (chat.delete, "chat:write"),
    "conversations.history": (conversations.history, ""),
    "conversations.replies": (conversations.replies, ""),
    "conversations.list": (conversations.list_all, ""),
    "conversations.open": (conversations.open_direct, "im:write"),
    "conversations.info": (conversations.info, ""),
    "users.list": (people.users_list, "users:read"),
    "users.info": (people.users_info, "users:read"),
    "usergroups.list": (people.groups_list, "usergroups:read"),
    "usergroups.users.list": (people.group_users_list, "usergroups:read"),
    "reactions.add": (people.reactions_add, "reactions:write"),
    "reactions.remove": (people.reactions_remove, "reactions:write"),
    "files.getUploadURLExternal": (files.get_upload_url, "files:write"),
    "files.completeUploadExternal": (files.complete_upload, "files:write"),
    "files.info": (files.info, "files:read"),
}


class FakeSlack(Sockets):
    """A Slack with one workspace and one app. `with serving_slack() as fake:` runs one."""

    @property
    def base_url(self) -> str:
        """What `slack_sdk.WebClient(base_url=...)` takes."""
        return f"{self.origin}/api/"

    # --- what FakeProvider asks

    def name_of(self, request: Request) -> str:
        """The method's name; "upload", "download" or "response_url" for what is not a method."""
        if request.path.startswith("/api/"):
            return request.path.removeprefix("/api/")
        if request.path in self.response_urls:
            return "response_url"
        first = request.path.split("/")[1]
        return {"upload": "upload", "files-pri": "download"}.get(first, request.path)

    def params_of(self, request: Request) -> Mapping[str, Any]:
        """For uploads only how long they are."""
        if not request.path.startswith("/api/") and request.path not in self.response_urls:
            return {"length": len(request.body)}
        try:
            return read(request)
        except Refused as refused:
            return dict(refused.body)

    def answer(self, name: str, request: Request) -> Answer:
        if request.path.startswith("/api/"):
            return self.call(name, request)
        if name == "response_url":
            return respond(self, request)
        if name == "upload":
            return files.upload(self, request)
        if name == "download":
            return files.download(self, request)
        return Answer(404, b"no such page", {"Content-Type": "text/plain"})

    def too_many(self, seconds: float, everywhere: bool) -> Answer:
        """In whole seconds. https://docs.slack.dev/apis/web-api/rate-limits#responding-to-rate-limiting-conditions"""
        return Answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(math.ceil(seconds))})

    # --- methods

    def call(self, name: str, request: Request) -> Answer:
        scopes = {"X-OAuth-Scopes": ",".join(sorted(self.scopes))}
        try:
            values = read(request)
            self.authorize(name, self.token_of(request, values))
            body = {"ok": True, **self.result(name, Arguments(values))}
        except Refused as refused:
            body = refused.body
        except TooMany as many:
            return self.too_many(many.seconds, everywhere=False)
        if self.lacks_charset(request):
            # A warning, and done all the same: https://docs.slack.dev/apis/web-api/ (warnings)
            metadata = {**body.get("response_metadata", {}), "warnings": ["missing_charset"]}
            body = {**body, "warning": "missing_charset", "response_metadata": metadata}
        return Answer(200, body, scopes)

    def result(self, name: str, args: Arguments) -> dict[str, Any]:
        if name == "auth.test":
            return self.auth_test()
        if name == "apps.connections.open":
            return {"url": self.socket_url()}
        if name not in METHODS:
            raise Refused("unknown_method", req_method=name)
        method, scope = METHODS[name]
        self.need(*([scope] if scope else []))
        return method(self, args)

    def auth_test(self) -> dict[str, Any]:
        """https://docs.slack.dev/reference/methods/auth.test"""
        return {
            "url": f"https://{self.team_domain}.slack.com/",
            "team": "Fake Team",
            "user": self.people[self.bot_user].name,
            "team_id": self.team_id,
            "user_id": self.bot_user,
            "bot_id": self.bot_id,
            "is_enterprise_install": False,
        }

    def token_of(self, request: Request, values: Mapping[str, Any]) -> str:
        """From the header, or from a form's body; with JSON only from the header, and never from the query.

        https://docs.slack.dev/changelog/2020-11-no-more-tokens-in-querystrings-for-newly-created-apps
        """
        header = request.headers.get("authorization", "")
        if "token" in request.query:
            self.problems.append(f"a token in the query string of {request.path}")
        if header:
            return header.removeprefix("Bearer ")
        if "token" in request.query or content_type(request)[0] == "application/json":
            return ""
        return str(values.get("token", ""))

    def authorize(self, name: str, token: str) -> None:
        """Each method has its own kind of token."""
        if not token:
            raise Refused("not_authed")
        if token not in (self.bot_token, self.app_token):
            raise Refused("invalid_auth")
        if self.auth_error:
            raise Refused(self.auth_error)
        wanted = self.app_token if name == "apps.connections.open" else self.bot_token
        if token != wanted and name != "auth.test":
            raise Refused("not_allowed_token_type")

    def lacks_charset(self, request: Request) -> bool:
        """JSON should say that it is UTF-8; forms need not."""
        kind, parameters = content_type(request)
        if request.method != "POST" or kind != "application/json" or "charset" in parameters:
            return False
        self.problems.append(f"no charset in the Content-Type of {request.path}")
        return True


@contextmanager
def serving_slack() -> Iterator[FakeSlack]:
    """On ports of its own, until the block ends."""
    with serving(FakeSlack()) as fake, fake.linking():
        yield fake
