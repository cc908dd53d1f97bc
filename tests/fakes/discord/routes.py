"""The table of the API's calls: by which method and path each is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.fakes.discord.bodies import Ask
from tests.fakes.provider import Answer

if TYPE_CHECKING:
    from tests.fakes.discord.state import State

Handler = Callable[["State", Ask], Answer]
PREFIX = "/api/v10"


@dataclass(frozen=True)
class Route:
    method: str
    template: str
    handler: Handler
    token: bool
    """Whether the bot's token is asked for; else the path itself holds one."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.template}"

    def ids(self, path: str) -> tuple[str, ...] | None:
        """What stands at the {places} of the path; None: another path."""
        wanted, given = self.template.split("/"), path.split("/")
        if len(wanted) != len(given):
            return None
        pairs = list(zip(wanted, given, strict=True))
        if any(not one if place.startswith("{") else place != one for place, one in pairs):
            return None
        return tuple(unquote(one) for place, one in pairs if place.startswith("{"))

    def misnamed(self, ids: tuple[str, ...]) -> str | None:
        """What is no snowflake, though one belongs there."""
        places = [place for place in self.template.split("/") if place.startswith("{")]
        return next(
            (one for place, one in zip(places, ids, strict=True) if place == "{id}" and not one.isdigit()), None
        )


ROUTES: list[Route] = []


def route(method: str, template: str, *, token: bool = True) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        ROUTES.append(Route(method, template, handler, token))
        return handler

    return register


def find(method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
    """A path that names something outright (`@original`) goes before one with a {place} there."""
    if not path.startswith(PREFIX):
        return None
    path = path.removeprefix(PREFIX)
    fits = [(one, ids) for one in ROUTES if one.method == method and (ids := one.ids(path)) is not None]
    return min(fits, key=lambda fit: len(fit[1]), default=None)


def is_known(path: str) -> bool:
    """By any method."""
    return any(one.ids(path.removeprefix(PREFIX)) is not None for one in ROUTES)
