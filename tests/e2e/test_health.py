"""Alive means "does its work": a process that has a pid and consumes nothing is noticed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import Fleet, Process, free_port, wait_until
from tests.e2e.frozen_proxy import FrozenProxy

NOTICED_WITHIN = 60
"""Seconds: R10."""


def asked(port: int, path: str = "/health") -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except OSError:
        return 0, {}


def through(proxy: FrozenProxy, url: str) -> str:
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{proxy.port}"))


def started(fleet: Fleet, kind: str, **env: str) -> tuple[Process, int]:
    """With a port for probes."""
    port = free_port()
    process = fleet.start(kind, HEYFLEET_HEALTH__PORT=str(port), **env)
    wait_until(lambda: asked(port)[0] == 200, 30, lambda: f"not healthy: {asked(port)}\n{fleet.logs()}")
    return process, port


def test_every_process_says_whether_it_works(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1)
    ports = {kind: started(fleet, kind)[1] for kind in ("worker", "runner", "beat")}
    for kind, port in ports.items():
        status, body = asked(port)
        assert (status, body["process"], body["status"]) == (200, kind, "healthy")
        assert asked(port, "/nothing")[0] == 404
    kinds = {"web", *ports}
    wait_until(lambda: {row[0] for row in fleet.sql("SELECT kind FROM process")} == kinds, 20, fleet.logs)
    for process in list(fleet.processes):
        process.stop()
    assert fleet.sql("SELECT kind FROM process WHERE stopped_at IS NULL") == []


def test_a_gateway_that_has_nothing_to_hold_answers_its_probe_and_ends_when_it_is_told_to(
    make_fleet: MakeFleet,
) -> None:
    gateway, port = started(make_fleet(), "gateway")
    assert asked(port)[1]["process"] == "gateway"
    assert gateway.stop() == 0


def test_a_worker_that_gets_no_messages_is_noticed(make_fleet: MakeFleet, redis_url: str) -> None:
    """R10: its connection to the broker is frozen; it lives, and Redis answers everybody else."""
    where = urlsplit(redis_url)
    proxy = FrozenProxy(str(where.hostname), int(where.port or 6379))
    fleet = make_fleet(web=1)
    (web,) = fleet.of("web")
    worker, port = started(fleet, "worker", REDIS_URL=through(proxy, redis_url))
    assert fleet.post("hello", sync=True)["status"] == "done"
    assert fleet.get(web, "/ready")[1]["processes"] == "ok"
    proxy.freeze()

    def noticed() -> bool:
        status, ready = fleet.get(web, "/ready")
        return status == 503 and "it has heard nothing from Redis" in ready["processes"] and asked(port)[0] == 503

    wait_until(noticed, NOTICED_WITHIN, lambda: f"{fleet.get(web, '/ready')} {asked(port)}\n{fleet.logs()}")
    assert f"worker {worker.popen.pid} on " in fleet.get(web, "/ready")[1]["processes"]
    assert fleet.get(web, "/ready?for=accepting")[0] == 200, "messages are kept all the same"
    # The library finds out in the end, and connects anew: then all is well again.
    wait_until(lambda: fleet.get(web, "/ready")[0] == 200 and asked(port)[0] == 200, 90, fleet.logs)
    assert fleet.finished(fleet.post("and now?"))["status"] == "done"
    proxy.close()
