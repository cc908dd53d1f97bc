"""Which messages are orders to heyfleet itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.approvals import new_code
from app.clock import uuid7
from app.control.commands import Command, parse


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("approvals", Command("approvals")),
        (" /Status ", Command("status")),
        ("new", Command("new")),
        ("approve k7f3q2mw", Command("approve", "k7f3q2mw")),
        ("/APPROVE K7F3Q2MW BYPASS", Command("approve", "k7f3q2mw", bypass=True)),
        ("deny abcdefg2", Command("deny", "abcdefg2")),
        ("revoke k7f3q2mw", Command("revoke", "k7f3q2mw")),
        ("cancel 1f2e3d4c", Command("cancel", "1f2e3d4c")),
        ("status 01a1fd18-5077-7bdc-9ce4-2d8dabd86e50", Command("status", "01a1fd18-5077-7bdc-9ce4-2d8dabd86e50")),
        ("bash ls -la | wc", Command("bash", "ls -la | wc")),
        ("Bash\nfor x in a b; do\n echo $x\ndone", Command("bash", "for x in a b; do\n echo $x\ndone")),
    ],
)
def test_orders(text: str, command: Command) -> None:
    assert parse(text) == command
    assert parse(command.text) == command, "as it is stored, it is read again"


@pytest.mark.parametrize(
    "text",
    [
        "", "approve", "approve it", "deny everything", "cancel that", "status quo", "news", "bash", "bashful",
        "please approve k7f3q2mw", "approve k7f3q2mw now", "approve k7f3q2mw bypass now", "what does new do?",
        "approve abc", "deny k7f3q2mw bypass", "status\nquo", "deny requests", "cancel order-4711",
        "status build-20240105",
    ],
)  # fmt: skip
def test_messages_for_the_agent(text: str) -> None:
    assert parse(text) is None


def test_only_what_has_its_place_in_the_thread_waits_for_it() -> None:
    assert {verb for verb in ("bash ls", "new", "approvals", "deny abcdefg2") if not parse(verb).at_once} == {  # type: ignore[union-attr]
        "bash ls",
        "new",
    }


def test_every_code_and_every_id_can_be_said() -> None:
    for _ in range(1000):
        assert parse(f"approve {new_code()}") is not None
        assert parse(f"cancel {uuid7()}") is not None


@given(st.text(max_size=200))
def test_any_text_is_looked_at(text: str) -> None:
    found = parse(text)
    assert found is None or parse(found.text) == found
