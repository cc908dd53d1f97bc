"""Who may post."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from app.adapters.webhook.verify import verify
from app.errors import Refused

SECRETS = ["the old one", "the new one"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("header", ["X-Heyfleet-Secret", "Authorization"])
def test_each_secret_in_force_lets_in(secret: str, header: str) -> None:
    verify({header: secret if header.startswith("X") else f"Bearer {secret}"}, SECRETS)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_as_http_says(scheme: str) -> None:
    verify({"Authorization": f"{scheme} the new one"}, SECRETS)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "the new one"},
        {"Authorization": "Basic the new one"},
        {"Authorization": "Bearer the new on"},
        {"Authorization": "Bearer the new one2"},
        {"Authorization": "Bearer THE NEW ONE"},
        {"X-Heyfleet-Secret": ""},
        {"X-Heyfleet-Secret": "the"},
        {"X-Heyfleet-Secret": "the old one,the new one"},
        {"X-Heyfleet-Secret": "th\u00e9 old one"},
        # A wrong secret is not made up for by a right one elsewhere.
        {"X-Heyfleet-Secret": "wrong", "Authorization": "Bearer the new one"},
    ],
)
def test_anything_else_is_kept_out(headers: Mapping[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        verify(headers, SECRETS)
    assert caught.value.status == 401
    assert not any(secret in caught.value.message for secret in SECRETS)


@pytest.mark.parametrize("secrets", [[], [""], ["", "real"]])
@pytest.mark.parametrize("headers", [{}, {"X-Heyfleet-Secret": ""}, {"Authorization": "Bearer "}])
def test_an_empty_secret_lets_nobody_in(secrets: list[str], headers: Mapping[str, str]) -> None:
    with pytest.raises(Refused):
        verify(headers, secrets)


class Watched(list[str]):
    """A list that notes how many of its items were looked at."""

    looked_at = 0

    def __iter__(self) -> Iterator[str]:
        for item in super().__iter__():
            self.looked_at += 1
            yield item


def test_every_secret_is_compared_whichever_matches() -> None:
    """Stopping at the first match would tell by the time taken which secret it was."""
    for offered in ("a", "b", "c"):
        secrets = Watched(["a", "b", "c"])
        verify({"X-Heyfleet-Secret": offered}, secrets)
        assert secrets.looked_at == 3
