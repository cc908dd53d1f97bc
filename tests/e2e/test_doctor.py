"""`heyfleet doctor` against real servers and processes: each thing that can be wrong is named, with its cure."""

from __future__ import annotations

import json
import signal
from typing import Any

import redis

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import Fleet, wait_until
from tests.e2e.test_cli import run
from tests.fakes import openai
from tests.fakes.collector import KEY, collecting


def findings(fleet: Fleet, *more: str, code: int = 0) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(run(fleet, "doctor", "--json", *more, code=code).stdout):
        found.setdefault(each["what"], []).append(each)
    return found


def test_a_fleet_at_work_is_well(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1, beat=1)
    wait_until(lambda: len(fleet.sql("SELECT 1 FROM process")) == 4, 30, fleet.logs)
    found = findings(fleet)
    assert [each["said"] for each in found["processes"]] == ["at work: 1 beat, 1 runner, 1 web, 1 worker"]
    for what in ("config", "postgres", "redis", "clock", "beat", "disk", "state_dir"):
        assert [each["level"] for each in found[what]] == ["ok"], found[what]


def test_what_is_not_there_or_does_nothing_is_named_with_its_cure(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(worker=1)
    (worker,) = fleet.of("worker")
    wait_until(lambda: len(fleet.sql("SELECT 1 FROM process")) == 1, 30, fleet.logs)
    said = [each["said"] for each in findings(fleet)["processes"]]
    assert said[:2] == [
        "no beat is running, so that no job is fired: start one",
        "no runner is running, so that no command is run: start one",
    ]
    fleet.db.rows("UPDATE process SET problem = 'it hears nothing'")
    worker.popen.send_signal(signal.SIGSTOP)
    fleet.db.rows("UPDATE process SET problem = 'it hears nothing', heartbeat_at = now()")
    stuck = findings(fleet, code=1)["processes"][0]
    assert stuck["level"] == "error"
    assert stuck["said"].startswith(f"worker {worker.popen.pid} on ")
    fleet.db.rows("UPDATE process SET heartbeat_at = now() - interval '40 seconds'")
    gone = findings(fleet)["processes"][0]
    assert gone["level"] == "warning"
    assert "it was killed, or its machine is away" in gone["said"]


def test_settings_of_redis_and_rights_on_disk(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1)
    client = redis.Redis.from_url(fleet.redis_url)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        (finding,) = findings(fleet)["redis"]
        assert (finding["level"], "noeviction" in finding["said"]) == ("warning", True)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert client.keys("heyfleet:doctor:*") == []
    state = fleet.folder / "state"
    state.chmod(0o755)
    (finding,) = findings(fleet)["state_dir"]
    assert finding["level"] == "warning"
    assert "chmod go= it" in finding["said"]


def test_migrations_that_wait_are_an_error(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.db.rows("UPDATE alembic_version SET version_num = '0001'")
    (finding,) = findings(fleet, code=1)["postgres"]
    assert finding["said"] == "migrations are pending: run heyfleet db migrate"


def test_servers_that_are_away_are_errors(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.database_url = "postgresql://nobody:nothing@127.0.0.1:9/none"
    fleet.redis_url = "redis://127.0.0.1:9/0"
    found = findings(fleet, code=1)
    assert found["postgres"][0]["said"].endswith("start it, or correct database_url")
    assert found["redis"][0]["said"].endswith("start it, or correct redis_url")
    assert "nothing" not in json.dumps(found["postgres"])


def test_models_are_asked_only_where_that_is_wanted(make_fleet: MakeFleet) -> None:
    with openai.start(api_key="sk-right") as server:
        alias = {"model": "openai/gpt-test", "base_url": server.base_url}
        models = {"good": {**alias, "api_key": "sk-right"}, "bad": {**alias, "api_key": "sk-wrong-key"}}
        fleet = make_fleet(config={"models": models, "agents": {"a": {"model": "good"}, "b": {"model": "bad"}}})
        fleet.configure(adapters=[{"kind": "local", "name": "local", "agent": "a"}])
        assert not [what for what in findings(fleet) if what.startswith("model ")]
        assert server.stats()["requests"] == 0
        found = findings(fleet, "--boot", code=1)
        assert found["model good"][0]["level"] == "ok"
        assert found["model bad"][0]["level"] == "error"
        assert "sk-wrong-key" not in json.dumps(found)


def test_a_collector_that_is_away_or_refuses_us(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()

    def said_of(endpoint: str, **headers: str) -> tuple[str, str]:
        fleet.configure(tracing={"endpoint": endpoint, "headers": headers, "sample": 0.25})
        code = 1 if headers.get("x-api-key") == "wrong" or endpoint.endswith("/elsewhere") else 0
        (finding,) = findings(fleet, code=code)["tracing"]
        return finding["level"], finding["said"]

    with collecting() as collector:
        right = {"x-api-key": KEY}
        assert said_of(collector.origin, **right) == ("ok", "the collector takes traces, of 25% of the messages")
        assert said_of(f"{collector.origin}/v1/traces", **right)[0] == "ok"
        assert said_of(collector.origin, **{"x-api-key": "wrong"})[1].endswith("(401): correct tracing.headers")
        assert said_of(f"{collector.origin}/elsewhere", **right)[0] == "error"
    assert said_of(collector.origin, **right)[0] == "warning"
