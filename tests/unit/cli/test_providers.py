"""What the verbs of the providers share: which adapter is meant, doctor, and what is loaded for whom."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.fakes.slack import serving_slack
from tests.fakes.telegram import serving_telegram
from tests.unit.cli.command_line import CommandLine

ADAPTERS: dict[str, dict[str, Any]] = {
    "slack": {"bot_token": "xoxb-sesame", "signing_secret": "open sesame"},
    "telegram": {"bot_token": "7:sesame"},
    "discord": {"bot_token": "sesame"},
}
VERBS = [
    ("slack", ["check"]),
    ("slack", ["channels"]),
    ("slack", ["users"]),
    ("telegram", ["check"]),
    ("telegram", ["observe"]),
    ("telegram", ["set-webhook", "--url", "https://chat.example.org"]),
    ("telegram", ["delete-webhook"]),
    ("discord", ["check"]),
    ("discord", ["invite"]),
    ("discord", ["channels"]),
    ("discord", ["observe"]),
]


@pytest.mark.parametrize(("kind", "verb"), VERBS)
def test_an_adapter_must_be_there_and_meant(cli: CommandLine, kind: str, verb: list[str]) -> None:
    cli.configure({"kind": "local", "name": "here"})
    said = cli.refused(kind, *verb)
    assert said.startswith(f"there is no {kind} adapter: add one under adapters in heyfleet.yaml")

    several = [{"kind": kind, "name": n, **ADAPTERS[kind], "bot_token": f"token of {n}"} for n in ("one", "two")]
    cli.configure(*several)
    assert cli.refused(kind, *verb) == f"there are several {kind} adapters: say which with --adapter (one, two)"
    said = cli.refused(kind, *verb, "--adapter", "three")
    assert said == f"there is no {kind} adapter 'three': there is one, two"


def test_the_one_that_is_named_is_asked(cli: CommandLine) -> None:
    with serving_telegram() as one, serving_telegram("7000000002:AAother", "other_bot") as two:
        fakes = {"one": one, "two": two}
        cli.configure(
            *({"kind": "telegram", "name": n, "bot_token": f.token, "api_url": f.origin} for n, f in fakes.items())
        )
        assert "@other_bot" in cli.run("telegram", "check", "--adapter", "two").out
        assert one.calls == []


def test_doctor_asks_each_provider(cli: CommandLine) -> None:
    with serving_slack() as slack:
        tokens = {"bot_token": slack.bot_token, "signing_secret": slack.signing_secret}
        cli.configure(
            {"kind": "slack", "name": "team", "api_url": slack.base_url, **tokens},
            {"kind": "telegram", "name": "lost", "bot_token": "7:sesame", "api_url": "http://127.0.0.1:1"},
            {"kind": "discord", "name": "away", "bot_token": "sesame", "api_url": "http://127.0.0.1:1"},
            {"kind": "local", "name": "here"},
        )
        found = cli.run("doctor", "--json", code=1).findings
    assert found["slack team token"][0][0] == "ok"
    for what in ("telegram lost", "discord away"):
        assert [name for name in found if name.startswith(what)] == [f"{what} token"]
        ((level, said),) = found[f"{what} token"]
        assert (level, "out of reach (ConnectError)" in said) == ("error", True)


def test_no_verb_loads_what_only_a_provider_needs() -> None:
    program = "import sys, app.cli.main; print(sorted({'httpx2', 'slack_sdk'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
