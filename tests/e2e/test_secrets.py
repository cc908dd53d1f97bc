"""Invariant 10: a secret of each kind is pushed through every path, and stands in no log, event, delivery or answer."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import SECRET, Fleet, wait_until
from tests.e2e.test_cli import run
from tests.fakes import openai
from tests.fakes.telegram import serving_telegram

MODEL_KEY = "sk-of-the-model-1a2b3c"
COOKIE = "session=c00kie-of-somebody"
BEARER = "a-guessed-bearer-token"
TOOL_SECRET = "hunter2-of-the-tool"
IN_THE_ENVIRONMENT = "pass-of-the-environment"
CONFIG = {"agents": {"default": {"model": "good"}}, "log": {"level": "debug", "format": "json"}}
VERBS = (["config", "show"], ["status"], ["events"], ["deliveries", "list"], ["threads"], ["turns"])
TOOL = f'''
from app.authoring import Ctx, tool

@tool
def open_door(ctx: Ctx) -> str:
    """Open the door."""
    raise RuntimeError("can't log in with password={TOOL_SECRET}, sent Cookie: {COOKIE}")
'''


def answered(fleet: Fleet, path: str, body: bytes, headers: dict[str, str]) -> str:
    (web,) = fleet.of("web")
    request = urllib.request.Request(f"http://127.0.0.1:{web.port}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read())
    except urllib.error.HTTPError as error:
        return str(error.read())


def test_nothing_secret_leaks_on_any_path(make_fleet: MakeFleet) -> None:
    with openai.start(api_key="sk-another") as model, serving_telegram() as telegram:
        good = {"model": "openai/gpt-test", "base_url": model.base_url, "api_key": "sk-another"}
        bad = {**good, "api_key": MODEL_KEY}
        chat = {"kind": "telegram", "name": "t", "bot_token": telegram.token, "api_url": telegram.origin}
        fleet = make_fleet(config=CONFIG | {"models": {"good": good, "bad": bad}})
        config = yaml.safe_load((fleet.folder / "heyfleet.yaml").read_text())
        fleet.configure(adapters=[*config["adapters"], {**chat, "permissions": {"approvers": {"users": ["1"]}}}])
        tools = fleet.folder / "agent" / "tools"
        tools.mkdir(parents=True)
        (tools / "door.py").write_text(TOOL)
        for kind in ("web", "worker", "runner", "gateway"):
            fleet.start(kind, SERVICE_PASSWORD=IN_THE_ENVIRONMENT)
        fleet.ready(fleet.of("web")[0])
        password = str(urlsplit(fleet.database_url.replace("+psycopg", "")).password)
        said: list[str] = []

        # A webhook with the wrong secret, with a cookie, with broken JSON; and one that is right.
        wrong = {"Authorization": f"Bearer {BEARER}", "Cookie": COOKIE}
        said.append(answered(fleet, "/webhook/internal", b'{"user": "ada"}', wrong))
        right = {"Authorization": f"Bearer {SECRET}", "Cookie": COOKIE, "Content-Type": "application/json"}
        said.append(answered(fleet, "/webhook/internal", b"{broken", right))
        # What a tool of the agent's raises: the model is told, and nobody else.
        said.append(json.dumps(fleet.post('[[tools=1 tool=open_door args="{}"]] open it', sync=True)))
        assert fleet.sql("SELECT tool, state FROM call") == [("open_door", "failed")]
        # Output of a command that prints what looks like a secret.
        command = f"echo api_key={IN_THE_ENVIRONMENT}; false"
        said.append(fleet.post(f'[[tools=1 command="{command}"]]', sync=True)["status"])
        # A model that refuses the key.
        fleet.configure(agents={"default": {"model": "bad"}})
        wait_until(lambda: fleet.post("hello", sync=True)["status"] == "failed", 30, fleet.logs)
        # A provider that refuses, with the token in the request's address.
        telegram.plan("getUpdates", *["500"] * 3)
        telegram.plan("sendMessage", "drop", "500")
        ann = telegram.person("Ann")
        telegram.say(telegram.private(ann), ann, "hello")
        wait_until(lambda: len(fleet.sql("SELECT 1 FROM turn WHERE adapter = 't'")) == 1, 30, fleet.logs)
        # SQL that fails, in the ingress and in the worker.
        fleet.db.rows("ALTER TABLE receipt RENAME TO receipt_away")
        (web,) = fleet.of("web")
        said.append(json.dumps(fleet.request(web, "POST", "/webhook/internal", {"user": "a", "text": "b"})))
        fleet.db.rows("ALTER TABLE receipt_away RENAME TO receipt")
        said += [run(fleet, *verb).stdout for verb in VERBS]
        for process in list(fleet.processes):
            process.stop()

        hidden = {MODEL_KEY, COOKIE, BEARER, telegram.token, SECRET, password, IN_THE_ENVIRONMENT, TOOL_SECRET}
        logs = {process.log.name: process.log.read_text() for process in fleet.processes}
        assert all(len(log) > 100 for log in logs.values()), "they log at all"
        # What a tool printed or raised is the conversation's: in its rows, and in nothing that tells of it.
        rows: dict[str, Any] = {
            table: str(fleet.sql(f"SELECT {columns} FROM {table}"))
            for table, columns in (
                ("event", "data"),
                ("delivery", "body, error"),
                ("turn", "error, sender, reply"),
                ("process", "problem"),
                ("role", "name, state"),
                ("job", "prompt"),
            )
        }
        for where, text in [*logs.items(), *rows.items(), *enumerate(said)]:
            leaked = [secret for secret in hidden if secret in text]
            assert not leaked, (where, leaked, [line for line in text.splitlines() if leaked[0] in line][:3])
