"""What is risky in a configuration that is right."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.risks import risks
from app.config.settings import Settings

QUIET: dict[str, Any] = {
    "adapters": [
        {
            "kind": "webhook",
            "name": "in",
            "secret": "s",
            "allow": {"users": ["ada"]},
            "permissions": {"approvers": {"users": ["ada"]}},
        }
    ]
}


JOB = {"id": "a", "kind": "cron", "every": "1h", "targets": {"in": {"users": ["ada"]}}, "prompt": "hello"}


def said(confirmed: list[str] | None = None, adapter: dict[str, Any] | None = None, **more: Any) -> list[str]:
    data = {**QUIET, **more, "adapters": [{**QUIET["adapters"][0], **(adapter or {})}]}
    return [
        f"{r.process} {r.where}: {r.said}" for r in risks(Settings.model_validate(data), {"default": confirmed or []})
    ]


def test_a_careful_set_up_is_quiet() -> None:
    assert said() == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"runtime": {"name": "host"}}, "worker runtime: host runs commands on this machine"),
        (
            {"jobs": [JOB], "worker": {"threads": 100}},
            "worker jobs.max_concurrent_targets: 180 runs at once take all 100 threads",
        ),
        ({"runtime": {"name": "guarded"}}, "worker runtime: guarded runs commands on this machine"),
        ({"http": {"host": "0.0.0.0"}}, "web http: listens on 0.0.0.0"),
        (
            {"builtin_tools": {"bash": {"confirm": False}}},
            "worker builtin_tools.bash: runs every command without asking",
        ),
        ({"policy": {"allow": ["git *", " * "]}}, "worker policy.allow: ' * ' allows every command"),
        (
            {"adapter": {"permissions": {}}},
            "worker adapter in: whoever sees a thread may approve what is asked there (bash)",
        ),
        ({"adapter": {"permissions": {"approvers": {}}}}, "worker adapter in: permissions name nobody"),
        ({"adapter": {"allow": None}}, "web adapter in: has no allow"),
        ({"adapter": {"allow": {"groups": ["sre"]}}}, "web adapter in: a webhook adapter knows no groups"),
        ({"adapter": {"unsafe_reply_http": True}}, "web adapter in: unsafe_reply_http"),
        ({"adapter": {"secret": None}}, "web adapter in: its secret was made here"),
    ],
)
def test_each_risk_is_said_once(more: dict[str, Any], words: str) -> None:
    (only,) = said(**more)
    assert only.startswith(words)


def test_a_tool_that_asks_needs_approvers_as_bash_does() -> None:
    off: dict[str, Any] = {"builtin_tools": {"bash": False}, "adapter": {"permissions": {}}}
    assert said(**off) == []
    (only,) = said(["page_on_call"], **off)
    assert "may approve what is asked there (page_on_call); set permissions.approvers" in only


def test_who_is_at_this_machine_needs_no_permission() -> None:
    local = Settings.model_validate({"adapters": [{"kind": "local", "name": "here"}]})
    assert risks(local, {}) == []
    nobody = Settings.model_validate({"adapters": [{"kind": "local", "name": "here", "permissions": {"admins": {}}}]})
    assert [risk.said for risk in risks(nobody, {})] != []


@pytest.mark.parametrize(
    ("adapter", "knows"),
    [
        ({"kind": "webhook", "secret": "s"}, False),
        ({"kind": "local"}, False),
        ({"kind": "telegram", "bot_token": "7:t"}, False),
        ({"kind": "slack", "bot_token": "xoxb-t", "signing_secret": "s"}, True),
        ({"kind": "discord", "bot_token": "t"}, True),
    ],
)
@pytest.mark.parametrize("place", ["allow", "approvers", "admins"])
def test_groups_count_where_the_provider_has_them(adapter: dict[str, Any], knows: bool, place: str) -> None:
    groups = {"users": ["ada"], "groups": ["sre"]}
    where = {"allow": groups} if place == "allow" else {"permissions": {place: groups}}
    settings = Settings.model_validate({"adapters": [{"name": "in", **adapter, **where}]})
    told = [risk.said for risk in risks(settings, {}) if "knows no groups" in risk.said]
    assert bool(told) is not knows
    assert told in ([], [f"a {adapter['kind']} adapter knows no groups: who is named by group only has no right"])
