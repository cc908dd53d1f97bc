"""`heyfleet slack …` against a Slack of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from app.cli.slack_manifest import EVENTS, SCOPES
from tests.fakes.slack import FakeSlack, serving_slack
from tests.unit.cli.command_line import CommandLine, levels

URL = "https://chat.example.org"


@pytest.fixture
def fake() -> Iterator[FakeSlack]:
    with serving_slack() as fake:
        fake.scopes |= set(SCOPES)
        yield fake
        assert fake.problems == []


def adapter(fake: FakeSlack, **more: Any) -> dict[str, Any]:
    secrets = {"bot_token": fake.bot_token, "signing_secret": fake.signing_secret, "app_token": fake.app_token}
    return {"kind": "slack", "name": "team", "api_url": fake.base_url, **secrets, **more}


def test_check_finds_nothing_wrong(cli: CommandLine, fake: FakeSlack) -> None:
    cli.configure(adapter(fake))
    found = cli.run("slack", "check", "--json").findings
    assert levels(found) == {"ok"}
    assert fake.bot_user in found["slack team token"][0][1]
    assert "/slack/team/events" in found["slack team http"][0][1]
    assert [line.split()[0] for line in cli.run("slack", "check").out.splitlines()] == ["ok", "ok", "ok"]


def test_check_of_a_socket_asks_for_a_connection_and_makes_none(cli: CommandLine, fake: FakeSlack) -> None:
    cli.configure(adapter(fake, mode="socket"))
    assert levels(cli.run("slack", "check", "--json").findings) == {"ok"}
    assert len(fake.called("apps.connections.open")) == 1
    assert fake.sockets == 0

    cli.configure(adapter(fake, mode="socket", app_token=fake.bot_token))
    ((level, said),) = cli.run("slack", "check", "--json", code=1).findings["slack team socket"]
    assert (level, "app_token begins with xapp-" in said) == ("error", True)


def test_check_names_each_scope_that_is_missing_and_what_for(cli: CommandLine, fake: FakeSlack) -> None:
    fake.scopes -= {"files:write", "reactions:write", "usergroups:read", "users:read"}
    cli.configure(adapter(fake, progress=False))
    found = cli.run("slack", "check", "--json", code=1).findings["slack team scopes"]
    assert [level for level, _ in found] == ["error", "warning"]
    assert "files:write (files that the agent sends)" in found[0][1]
    assert "users:read (heyfleet slack users)" in found[1][1]
    assert "reactions" not in str(found), "without progress nothing reacts"
    assert "usergroups" not in str(found), "no group is named"

    cli.configure(adapter(fake, allow={"groups": ["S1"]}))
    found = cli.run("slack", "check", "--json", code=1).findings["slack team scopes"]
    assert "reactions:write" in found[0][1]
    assert "usergroups:read" in found[0][1]


def test_check_with_a_wrong_token(cli: CommandLine, fake: FakeSlack) -> None:
    cli.configure(adapter(fake, bot_token="xoxb-guessed"))
    found = cli.run("slack", "check", "--json", code=1).findings
    assert list(found) == ["slack team token"]
    assert found["slack team token"][0][1].startswith("Slack says invalid_auth: compare bot_token")
    assert "compare bot_token" in cli.refused("slack", "channels")


@pytest.mark.parametrize("how", ["drop", "500"])
def test_check_where_slack_is_out_of_reach(cli: CommandLine, fake: FakeSlack, how: str) -> None:
    fake.plan("auth.test", how)
    cli.configure(adapter(fake))
    found = cli.run("slack", "check", "--json", code=1).findings
    assert list(found) == ["slack team token"]


def test_what_is_told_to_wait_waits(cli: CommandLine, fake: FakeSlack) -> None:
    fake.plan("conversations.list", "429 1")
    fake.channel("general")
    cli.configure(adapter(fake))
    assert [row["name"] for row in cli.run("slack", "channels", "--json").json] == ["general"]


def test_channels_are_shown_with_their_ids(cli: CommandLine, fake: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.slack_account.PAGE", 2)
    general, random = fake.channel("general"), fake.channel("random", bot_in_it=False)
    secret, old = fake.channel("general-plans", private=True), fake.channel("old")
    old.archived = True
    fake.channel("general-board", private=True, bot_in_it=False)
    cli.configure(adapter(fake))
    lines = cli.run("slack", "channels").lines
    assert [line[:4] for line in lines] == [
        [general.id, "general", "False", "True"],
        [random.id, "random", "False", "False"],
    ]
    assert [row["id"] for row in cli.run("slack", "channels", "#Gener", "--private", "--json").json] == [
        general.id,
        secret.id,
    ]
    assert [row["name"] for row in cli.run("slack", "channels", random.id, "--json").json] == ["random"]
    assert len(fake.called("conversations.list")) > 3


def test_channels_say_which_scope_they_want(cli: CommandLine, fake: FakeSlack) -> None:
    fake.scopes -= {"groups:read"}
    cli.configure(adapter(fake))
    assert cli.run("slack", "channels", "--json").json == []
    assert "add groups:read under OAuth & Permissions" in cli.refused("slack", "channels", "--private")


def test_users_are_shown_with_their_ids(cli: CommandLine, fake: FakeSlack) -> None:
    ann, bob, robot = fake.person("ann"), fake.person("bob"), fake.person("ann-bot", bot=True)
    fake.person("anna").deleted = True
    cli.configure(adapter(fake))
    assert [(row["id"], row["bot"]) for row in cli.run("slack", "users", "--json").json] == [
        (ann.id, False),
        (bob.id, False),
    ]
    assert [line[0] for line in cli.run("slack", "users", "@ANN", "--bots").lines] == [ann.id, robot.id]
    fake.scopes -= {"users:read"}
    assert "add users:read" in cli.refused("slack", "users")


@pytest.mark.parametrize("mode", ["http", "socket"])
def test_a_manifest_needs_no_adapter(cli: CommandLine, mode: str) -> None:
    options = ["--mode", mode, *(["--url", f"{URL}/"] if mode == "http" else [])]
    made = yaml.safe_load(cli.run("slack", "manifest", *options, "--name", "Helga").out)
    assert made == cli.run("slack", "manifest", *options, "--name", "Helga", "--json").json
    assert made["display_information"]["name"] == made["features"]["bot_user"]["display_name"] == "Helga"
    assert made["oauth_config"]["scopes"]["bot"] == sorted(SCOPES)
    assert made["settings"]["event_subscriptions"]["bot_events"] == list(EVENTS)
    assert made["settings"]["socket_mode_enabled"] is (mode == "socket")
    (command,) = made["features"]["slash_commands"]
    assert command["command"] == "/heyfleet"
    urls = [command.get("url")] + [
        made["settings"][part].get("request_url") for part in ("event_subscriptions", "interactivity")
    ]
    assert urls == [f"{URL}/slack/slack/events" if mode == "http" else None] * 3


def test_a_manifest_follows_the_adapter(cli: CommandLine, fake: FakeSlack) -> None:
    cli.configure(adapter(fake, mode="socket", command="/ops"), adapter(fake, name="other", bot_token="xoxb-another"))
    assert "say which with --adapter (team, other)" in cli.refused("slack", "manifest")
    made = cli.run("slack", "manifest", "--adapter", "team", "--json").json
    assert made["settings"]["socket_mode_enabled"] is True
    assert made["features"]["slash_commands"][0]["command"] == "/ops"
    made = cli.run("slack", "manifest", "--adapter", "other", "--url", URL, "--json").json
    assert made["settings"]["interactivity"]["request_url"] == f"{URL}/slack/other/events"


def test_a_manifest_can_be_had_before_there_are_tokens(cli: CommandLine) -> None:
    cli.configure({"kind": "slack", "name": "team", "bot_token": "${NOT_THERE}", "signing_secret": "x"})
    cli.secrets.clear()
    ran = cli.run("slack", "manifest", "--url", URL, "--adapter", "team", "--json")
    assert ran.err.startswith("(heyfleet.yaml is left out")
    assert ran.json["settings"]["interactivity"]["request_url"] == f"{URL}/slack/team/events"


@pytest.mark.parametrize(
    "url", ["http://chat.example.org", "chat.example.org", "https://", "https://a:b@c", "https://[x"]
)
def test_a_manifest_wants_an_address_that_slack_can_reach(cli: CommandLine, url: str) -> None:
    assert "--url must be https://HOST" in cli.refused("slack", "manifest", "--mode", "http", "--url", url)


def test_a_manifest_for_http_wants_an_address(cli: CommandLine) -> None:
    assert "--url https://HOST is needed" in cli.refused("slack", "manifest")


@pytest.mark.parametrize("mode", ["http", "socket"])
def test_env_is_a_configuration_once_it_is_filled_in(cli: CommandLine, mode: str) -> None:
    text, _, names = cli.run("slack", "env", "--mode", mode).out.partition("# .env")
    variables = [line for line in names.splitlines() if line.endswith("=")]
    (cli.folder / "heyfleet.yaml").write_text(text)
    (cli.folder / ".env").write_text("".join(f"{name}filled-in\n" for name in variables))
    (found,) = json.loads(cli.run("config", "show", "--json").out)["adapters"]
    assert (found["kind"], found["mode"]) == ("slack", mode)
