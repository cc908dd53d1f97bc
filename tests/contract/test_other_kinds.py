"""Adapters that another package brings: installed, configured, heard by HTTP and by a connection, answered."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.bootstrap import keeper_of
from app.config.adapters import KINDS_OF_OTHERS
from app.config.load import load
from app.config.show import MASK, masked, schema
from app.errors import ConfigError, Permanent
from gateway.__main__ import connections_of
from tests.contract.chats import Ingress
from tests.db.interleaving import wait_until
from tests.db.rows import pump, rows
from tests.db.stations import Worker

# What its author would write: it needs nothing but `app.ports`, `app.results` and `app.traffic`.
PACKAGE = """
import pathlib
from flask import Blueprint, jsonify, request
from app.errors import Refused
from app.results import Failed, Sent
from app.traffic import Limit, Said, Sender

class Loft:
    in_doubt, drafts, answers_each = "flag", "none", False

    def __init__(self, settings):
        self.name, self.settings = settings.name, settings
        self.folder = pathlib.Path(settings.options["folder"])

    def blueprint(self, take):
        blueprint = Blueprint("loft", __name__)

        @blueprint.post("/birds")
        def arrived():
            if request.headers.get("X-Ring") != self.settings.secrets["ring"].get_secret_value():
                raise Refused("this bird is not ours", status=401)
            return jsonify(said=take(said_of(request.get_json())))

        return blueprint

    def listen(self, take, stop):
        for letter in sorted(self.folder.glob("in-*")):
            take(said_of({"id": letter.name, "from": "ann", "text": letter.read_text()}))
            letter.unlink()
        stop.wait(0.05)

    def address(self, reply, thread_key):
        return reply.get("to")

    def progress(self, reply):
        return None

    def place(self, kind, name):
        return None

    def limits(self, delivery):
        return [Limit(delivery.address, 100, 1.0, 100)]

    def fetch(self, source, most):
        raise Refused("birds carry no files")

    def settle(self, delivery):
        raise AssertionError("never asked")

    def send(self, delivery):
        if not self.folder.is_dir():
            return Failed("the loft is gone")
        (self.folder / f"out-{delivery.id}").write_text(delivery.body["text"])
        return Sent(delivery.id)

def said_of(letter):
    return Said(sender=Sender(letter["from"]), channel="loft", text=letter["text"], event_key=letter["id"],
        key=letter["from"], reply={"to": letter["from"]}, dm=True)
"""
ENTRY_POINTS = f"""
[{KINDS_OF_OTHERS}]
pigeon = third_party_adapters:Loft
broken = no_such_module:Loft
slack = third_party_adapters:Loft
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_party_adapters.py").write_text(PACKAGE)
    info = tmp_path / "third_party_adapters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party-adapters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)


def pigeon(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "kind": "pigeon",
        "name": "loft",
        "secrets": {"ring": "sesame"},
        "options": {"folder": str(folder)},
        "allow": {"users": ["ann"]},
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "birds").mkdir()
    return tmp_path / "birds"


@pytest.fixture
def fleet(package: None, folder: Path, database_url: str, redis_url: str) -> Iterator[tuple[Ingress, Worker]]:
    whole = {"adapters": [pigeon(folder)]}
    ingress = Ingress(database_url, redis_url, whole)
    worker = Worker(database_url, redis_url, ports=ingress.core.adapters, **whole)
    yield ingress, worker
    worker.close()
    ingress.close()


def post(ingress: Ingress, letter: dict[str, str], ring: str = "sesame") -> int:
    request = urllib.request.Request(
        f"{ingress.origin}/pigeon/loft/birds",
        json.dumps(letter).encode(),
        {"Content-Type": "application/json", "X-Ring": ring},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def sent(folder: Path) -> list[str]:
    return sorted(path.read_text() for path in folder.glob("out-*"))


def test_what_its_provider_posts_is_a_turn_and_is_answered(fleet: tuple[Ingress, Worker], folder: Path) -> None:
    ingress, worker = fleet
    letter = {"id": "1", "from": "ann", "text": "hello"}
    assert [post(ingress, letter) for _ in range(3)] == [200] * 3
    assert post(ingress, letter, ring="guessed") == 401
    assert post(ingress, {"id": "2", "from": "eve", "text": "hello"}) == 200
    pump(worker)
    assert sent(folder) == ["re: hello"]
    assert rows(worker.db, "SELECT adapter, actor, state FROM turn") == [("loft", "ann", "done")]


def test_what_it_listens_to_is_taken_in_by_the_gateway_that_leads(fleet: tuple[Ingress, Worker], folder: Path) -> None:
    ingress, worker = fleet
    (folder / "in-1").write_text("one")
    (folder / "in-2").write_text("two")
    keeper = keeper_of(ingress.settings, ingress.core.db.engine.url.render_as_string(hide_password=False), "gateway")
    (connection,) = connections_of(ingress.core, keeper, ingress.settings)
    connection.start()
    wait_until(lambda: len(rows(worker.db, "SELECT 1 FROM turn")) == 2)
    assert rows(worker.db, "SELECT name FROM role WHERE lease_owner IS NOT NULL") == [("pigeon loft",)]
    connection.close()
    keeper.close()
    pump(worker)
    assert sent(folder) == ["re: one; two"]


def configured(tmp_path: Path, text: str) -> Any:
    (tmp_path / "heyfleet.yaml").write_text(text)
    return load(environ={}, cwd=tmp_path)


def test_its_secrets_are_masked_and_its_keys_are_checked(package: None, tmp_path: Path) -> None:
    entry = "{kind: pigeon, name: loft, secrets: {ring: sesame}, options: {wings: 2}"
    shown = masked(configured(tmp_path, f"adapters:\n  - {entry}}}").settings)["adapters"][0]
    assert (shown["secrets"], shown["options"]) == ({"ring": MASK}, {"wings": 2})
    with pytest.raises(ConfigError, match=r"adapters\[0\]\.opts.*there is no such key; did you mean options"):
        configured(tmp_path, f"adapters:\n  - {entry}, opts: 1}}")


def test_a_kind_that_nobody_brings_is_an_error_that_names_those_there_are(package: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of slack, telegram, discord, webhook, local, broken, pigeon"):
        configured(tmp_path, "adapters:\n  - {kind: pidgeon, name: loft}")
    with pytest.raises(ConfigError, match="did you mean pigeon"):
        configured(tmp_path, "adapters:\n  - {kind: pidgeon, name: loft}")


def test_a_package_that_can_t_be_loaded_is_named(package: None, database_url: str, redis_url: str) -> None:
    with pytest.raises(Permanent, match="the adapter kind broken of third-party-adapters can't be loaded"):
        Ingress(database_url, redis_url, {"adapters": [{"kind": "broken", "name": "b"}]})


def test_a_built_in_kind_can_t_be_taken_over(package: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bot_token: is missing"):
        configured(tmp_path, "adapters:\n  - {kind: slack, name: s, options: {}}")


def test_the_schema_has_it() -> None:
    assert {"OtherAdapter", "SlackAdapter"} <= schema()["$defs"].keys()
