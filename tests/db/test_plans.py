"""The hot statements find their rows by index: the cost of a turn does not grow with what is stored."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.dialects.postgresql import psycopg as dialect

from app import (
    approvals,
    bypasses,
    calls,
    cancel,
    closing,
    deliveries,
    entry,
    inbox,
    leases,
    retention,
    roles,
    sandbox_lane,
    sweep,
)
from app.control import obey
from app.db import Database, compiled
from app.ingress.runs import STANDING
from app.jobs import admitting, firing, hands, history, records
from app.jobs import deciding as deciding_about
from app.jsonb import dumps
from app.services.postgres import EmbeddedPostgres
from app.states import ApprovalState, OccurrenceOutcome, TurnState
from app.turns import commit, drafting, facts, fetching, statements
from tests.conftest import run, url_of
from tests.db.guards import libpq
from tests.db.stations import inbound

THREADS, TURNS_EACH, SANDBOXES = 50_000, 2, 5_000
BIG = {"thread", "turn", "message", "entry", "call", "delivery", "destination", "event", "receipt", "sandbox"}
BIG |= {"approval", "bypass", "job", "job_run", "occurrence"}

# Ids are made from numbers, so that rows can name each other; a few rows are open, as in a fleet at work.
ID = "CAST(lpad(to_hex({0}), 32, '{1}') AS uuid)"
FILL = f"""
    SET session_replication_role = replica;
    INSERT INTO thread (id, agent, adapter, team, key, channel, last_seq, wake_at, lease_until, version)
    SELECT {ID.format("n", "0")}, 'default', 'note', '', 'key ' || n, 'channel ' || n, {TURNS_EACH},
        CASE WHEN n % 500 = 0 THEN now() - n * interval '1 ms' END, NULL, 5 FROM generate_series(1, {THREADS}) AS n;
    INSERT INTO turn (id, thread_id, seq, adapter, state, actor, trace, step_count)
    SELECT {ID.format("n * 2 + s", "0")}, {ID.format("n", "0")}, s, 'note',
        CASE WHEN s = 2 AND n % 500 = 0 THEN 'queued' ELSE 'done' END, 'ada', 'trace', 1
    FROM generate_series(1, {THREADS}) AS n, generate_series(1, {TURNS_EACH}) AS s;
    INSERT INTO message (id, thread_id, turn_id, direction, actor, text)
    SELECT {ID.format("row_number() OVER ()", "0")}, thread_id, id, 'in', 'ada', 'hello' FROM turn;
    INSERT INTO entry (thread_id, seq, turn_id, kind, format, body)
    SELECT thread_id, seq, id, 'request', 1, '{{}}' FROM turn;
    INSERT INTO receipt (adapter, event_key, turn_id) SELECT 'note', id::text, id FROM turn WHERE seq = 1;
    INSERT INTO event (id, trace, kind, thread_id, turn_id, created_at)
    SELECT id, 'trace ' || id, 'message_accepted', thread_id, id, now() - interval '1 day' FROM turn WHERE seq = 1;
    INSERT INTO destination (id, adapter, address, last_seq, wake_at)
    SELECT id, 'note', 'address ' || key, {TURNS_EACH}, wake_at FROM thread;
    INSERT INTO delivery (id, destination_id, seq, turn_id, kind, body, state)
    SELECT id, thread_id, seq, id, 'reply', '{{}}', CASE WHEN state = 'queued' THEN 'pending' ELSE 'sent' END FROM turn
    WHERE seq = 2;
    INSERT INTO runner (id, host, version, runtimes, capacity, instance)
    VALUES ('r1', 'h', '1', '["virtual"]', 4, 'i');
    INSERT INTO sandbox (id, agent, runtime, scope_key, runner_id, wake_at)
    SELECT {ID.format("n", "0")}, 'default', 'virtual', 'key ' || n, 'r1',
        CASE WHEN n % 500 = 0 THEN now() - n * interval '1 ms' END FROM generate_series(1, {SANDBOXES}) AS n;
    INSERT INTO call (id, turn_id, step_n, ordinal, tool_call_id, tool, args, place, idempotent, sandbox_id, state)
    SELECT id, id, 1, 0, 'c', 'bash', '{{}}', 'runner', false,
        CAST(lpad(to_hex(row_number() OVER () % {SANDBOXES} + 1), 32, '0') AS uuid),
        CASE WHEN state = 'queued' THEN 'queued' ELSE 'done' END FROM turn WHERE seq = 2;
    INSERT INTO approval (id, code, call_id, turn_id, thread_id, adapter, requester, digest, reason, details, state,
        expires_at)
    SELECT call.id, 'code ' || row_number() OVER (), call.id, turn.id, turn.thread_id, 'note', 'ada', 'd', '', '',
        CASE WHEN turn.state = 'queued' THEN 'pending' ELSE 'approved' END, now() + interval '1 hour'
    FROM call JOIN turn ON turn.id = call.turn_id;
    INSERT INTO bypass (id, code, approval_id, adapter, team, channel, thread_id, actor, scope, granted_by, expires_at)
    SELECT id, code, id, 'note', '', 'c', thread_id, 'actor ' || row_number() OVER (), 'thread', 'eve', now()
    FROM approval;
    INSERT INTO job (id, agent, name, kind, schedule, anchor, targets, scope, prompt, max_catch_up, state, next_at)
    SELECT {ID.format("n", "0")}, 'default', 'job ' || n, 'heartbeat', '{{"every": 60}}', now(),
        CASE WHEN n % 2 = 0 THEN '[]'::jsonb END, CASE WHEN n % 2 = 1 THEN '{{}}'::jsonb END, 'p', '1', 'active',
        now() + n * interval '1 s' FROM generate_series(1, {THREADS}) AS n;
    INSERT INTO occurrence (id, job_id, due_at, last_at, due_times, outcome, decided_at)
    SELECT id, id, created_at, created_at, 1, CASE WHEN get_byte(uuid_send(id), 15) = 0 THEN 'late' ELSE 'ran' END,
        now() - interval '2 days' FROM job;
    INSERT INTO job_run (id, job_id, due_at, target, adapter, fanned_out, state, turn_id, thread_id, created_at,
        ended_at)
    SELECT turn.id, turn.thread_id, turn.created_at, 'note:ops', 'note', thread.seq % 2 = 0, CASE
            WHEN turn.state = 'queued' AND thread.seq % 1000 = 0 THEN 'running'
            WHEN turn.state = 'queued' THEN 'queued' ELSE 'done' END,
        CASE WHEN turn.state <> 'queued' OR thread.seq % 1000 = 0 THEN turn.id END, turn.thread_id,
        now() - interval '2 days', now()
    FROM turn JOIN (SELECT id, row_number() OVER (ORDER BY id) AS seq FROM thread) AS thread ON thread.id = thread_id
    WHERE turn.seq = 2;
    INSERT INTO slot (n) SELECT generate_series(1, 12);
    INSERT INTO role (name, lease_token) VALUES ('sweeper', 1);
    SET session_replication_role = DEFAULT;
    ANALYZE"""

THREAD, TURN, SANDBOX, CALL = UUID(int=500), UUID(int=1002), UUID(int=500), UUID(int=1002)
APPROVAL = UUID(int=1002)
DECISION = {"approval": APPROVAL, "state": "approved", "by": "eve", "via": "cli"}
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def big(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A database with a long past."""
    name = f"big_{uuid.uuid4().hex}"
    run(postgres_server, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    url = url_of(postgres_server, name)
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        connection.execute(FILL)
    # With the options that every process connects with: they decide on plans too.
    db = Database(url, name="plans", pool_size=1)
    with db.engine.connect() as connected:
        found: psycopg.Connection[Any] | None = connected.connection.driver_connection
        assert found
        yield found
    db.close()
    run(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def accepting() -> dict[str, Any]:
    return inbox.parameters(inbound(thread="key 500", event_key="new"), uuid.uuid4(), 1000)


def taking(**more: Any) -> dict[str, Any]:
    return {"owner": "me", "ttl": 15.0, "token": 1, "seen": 5, **more}


def beginning(**more: Any) -> dict[str, Any]:
    place = calls.Place("r1", None, 12, 1, 15.0)
    return {**calls.begin_params(SANDBOX, place, -1), "owner": "me", "workspace": None, "token": 1, **more}


def committing() -> dict[str, Any]:
    """Every part of a commit: a step with calls in a sandbox, a steer taken in, and a reply."""
    call = {
        "id": str(uuid.uuid4()),
        "ordinal": 0,
        "tool_call_id": "c",
        "tool": "bash",
        "args": {},
        "place": "runner",
        "idempotent": False,
        "state": "queued",
        "result": None,
    }
    outcome = commit.Outcome(
        state=TurnState.DONE,
        step_count=2,
        worked_ms=1,
        steps=[{"n": 2, "model": "m", "took_ms": 1.0}],
        entries=[{"seq": 9, "kind": "request", "body": {}}],
        calls=[call],
        runtime="virtual",
        scope_key="key 500",
        absorbed=[TURN],
        answer="yes",
        replies=[commit.Reply(TURN, "address key 500", {})],
    )
    rows = facts.Facts(THREAD, 1, 5, "default", "note", "", "key 500", "channel 500", [], [], [], [], [], 0, NOW)
    turn = facts.TurnFacts(TURN, 2, TurnState.RUNNING, "ada", "t", {}, 1, 0, 0, 0, None, None, None, None, NOW, [], [])
    return commit.parameters(rows, turn, outcome)


def finishing() -> dict[str, Any]:
    ended = {
        "state": "sent",
        "error": None,
        "wait": None,
        "doubtful": False,
        "attempts": 1,
        "sent": "[]",
        "more": False,
    }
    return {"delivery": TURN, "destination": THREAD, "events": "[]", **ended}


def ending() -> dict[str, Any]:
    result = json.dumps([{"id": str(CALL), "state": "done", "result": ""}])
    return {
        "sandbox": SANDBOX,
        "changed": True,
        "snapshot": b"",
        "results": result,
        "files": "[]",
        "events": "[]",
        "tried": [SANDBOX],
    }


PLACE = {"adapter": "note", "kind": "channel", "name": "ops"}


def fired() -> dict[str, Any]:
    decided = deciding_about.Decided(NOW, NOW, 1, OccurrenceOutcome.RAN)
    decision = {"job": str(THREAD), "was": str(NOW), "next": str(NOW), "revision": 1}
    occurrences = dumps(records.rows_of(THREAD, [decided]))
    return {"decisions": dumps([decision]), "occurrences": occurrences, "busy": "", "nobody": ""}


def filters() -> str:
    return firing.filters_of({"note": {"teams": None, "channels": ["channel 500"], "users": ["ada"]}})


def deciding(state: str) -> str:
    return approvals.DECIDE.format(when=approvals.WHEN[ApprovalState(state)])


def sweeping(table: str) -> str:
    can = sandbox_lane.OFFERED.format(sandbox="sandbox") if table == "sandbox" else "true"
    return sweep.FIND.format(table=table, queue="NULL", fence=sweep.FENCE, can=can)


STATEMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "accept": (inbox.ACCEPT, accepting()),
    "accept and show": (
        inbox.ACCEPT_AND_SHOW,
        {**accepting(), "place_id": TURN, "delivery_id": TURN, "address": "x", "progress": "{}"},
    ),
    "stored before": (inbox.STORED, {"turn_id": TURN}),
    "a conversation goes on": (
        entry.GOES_ON,
        {"agent": "default", "adapter": "note", "key": "t500"},
    ),
    "a recent conversation": (
        entry.RECENT,
        {"agent": "default", "adapter": "note", "channel": "c5", "actor": "eve", "seconds": 300.0, "prefix": "c5 m"},
    ),
    "store a file": (
        fetching.STORE,
        {"thread": THREAD, "token": 1, "file": TURN, "body": b"x", "text": None, "problem": None},
    ),
    "pictures of a message": (
        fetching.IMAGES,
        {"turns": [TURN], "shown": list(fetching.SHOWN), "most": 8, "most_bytes": 4_000_000},
    ),
    "stage a draft": (
        drafting.STAGE,
        {
            "thread": THREAD,
            "token": 1,
            "turn": TURN,
            "adapter": "note",
            "address": "x",
            "place": TURN,
            "delivery": TURN,
            "body": "{}",
        },
    ),
    "how a draft stands": (drafting.STANDS, {"turn": TURN}),
    "what a role left": (roles.KEPT, {"name": "discord a 0"}),
    "keep for a role": (roles.KEEP, {"name": "discord a 0", "token": 1, "state": "{}"}),
    "what a message answers": (
        entry.ANSWERED,
        {"adapter": "note", "address": "x", "answers": "1 2"},
    ),
    "first of an event": (inbox.FIRST, {"adapter": "note", "event_key": "e"}),
    "take a thread": (facts.TAKE_WITH_FACTS, taking(thread=THREAD)),
    "read a thread again": (facts.REREAD, taking(thread=THREAD)),
    "give a thread back": (facts.GIVE_BACK, taking(thread=THREAD, wake_at=None)),
    "commit a step": (statements.COMMIT, committing()),
    "commit results": (statements.RESULTS, taking(thread=THREAD, turn=TURN, results="[]", events="[]")),
    "look up a commit": (statements.STANDS, taking(thread=THREAD, turn=TURN)),
    "commit questions": (statements.COMMIT_IN_FULL, committing()),
    "begin approved calls": (statements.BEGIN, taking(thread=THREAD, turn=TURN, calls=[CALL])),
    "look for what was cancelled": (statements.STILL_QUEUED, taking(thread=THREAD, turn=TURN, fresh=[TURN])),
    "find an approval": (approvals.FIND, {"name": "code 1002", "id": APPROVAL, "adapter": "note"}),
    "approvals of a turn": (approvals.PENDING_OF, {"turn": TURN}),
    "pending approvals": (approvals.PENDING, {"adapter": None, "limit": 50}),
    "approve": (deciding("approved"), DECISION),
    "deny": (deciding("denied"), DECISION),
    "expire": (deciding("expired"), DECISION),
    "begin an approved call": (approvals.BEGIN_AGAIN, {"call": CALL}),
    "refuse a call": (approvals.REFUSE, {"call": CALL, "result": ""}),
    "ring a sandbox": (approvals.RING_SANDBOX, {"sandbox": SANDBOX}),
    "update a card": (
        approvals.UPDATE_CARD,
        {"turn": TURN, "card": "reply", "kind": "k", "id": UUID(int=9), "outcome": "{}", "news": "{}"},
    ),
    "lapsed approvals": (approvals.LAPSED, {}),
    "a bypass": (
        bypasses.COVERING,
        {"adapter": "note", "team": "", "channel": "c", "thread": THREAD, "actor": "actor 7"},
    ),
    "bypasses in force": (bypasses.LISTED, {"adapter": "note"}),
    "revoke a bypass": (bypasses.REVOKE, {"bypass": THREAD, "by": "eve", "events": "[]"}),
    "lock a turn's thread": (closing.LOCK, {"turn": TURN}),
    "close a command's turn": (
        closing.OBEYED,
        {
            "thread": THREAD,
            "turn": TURN,
            "text": "ok",
            "address": "address key 500",
            "message": uuid.uuid4(),
            "place": uuid.uuid4(),
            "delivery": uuid.uuid4(),
            "events": "[]",
        },
    ),
    "close a turn": (closing.CLOSE, {"turn": TURN, "state": "done", "answer": "", "cancel_by": None}),
    "find what is to be cancelled": (cancel.FIND, {"turn": TURN}),
    "flag a turn": (cancel.FLAG, {"turn": TURN, "who": "eve"}),
    "hold destinations": (cancel.HOLD_DESTINATIONS, {"turn": TURN}),
    "withdraw replies": (cancel.WITHDRAW, {"turn": TURN, "error": "e"}),
    "a turn by the end of its id": (obey.NAMED, {"adapter": "note", "name": "000003ea"}),
    "jobs that are due": (firing.DUE_TARGETS, {"most": 200, "aside": [TURN]}),
    "heartbeats that are due": (firing.DUE_SCOPE, {"most": 200, "aside": [TURN]}),
    "the next due time": (firing.SOONEST_TARGETS, {"aside": [TURN]}),
    "the next heartbeat": (firing.SOONEST_SCOPE, {"aside": [TURN]}),
    "fire": (firing.FIRE, {**fired(), "runs": dumps([{**firing.run_at(TURN, PLACE), "due_at": str(NOW)}])}),
    "fan out": (
        firing.FAN_OUT,
        {**fired(), "agent": "default", "stacks": False, "idle": 60.0, "filters": filters(), "ids": "0" * 20},
    ),
    "whether a run waits": (admitting.ANYTHING, {}),
    "claim runs": (admitting.CLAIM, {"targets": 180, "fanned_out": 8, "portion": 30, "adapters": ["note"]}),
    "threads of runs": (admitting.THREADS, {"ids": [THREAD]}),
    "accept a run": (inbox.ACCEPT_RUN, {**accepting(), "run": TURN}),
    "settle runs": (admitting.LOST, {}),
    "give runs up": (admitting.UNREACHABLE, {"adapters": ["note"], "patience": 3600.0}),
    "fail a run": (admitting.FAIL, {"run": TURN, "error": "e", "events": "[]"}),
    "end a run": (closing.END_RUN, {"turn": TURN, "error": "e"}),
    "drop queued runs": (records.DROP_QUEUED, {"jobs": [THREAD], "reason": "r"}),
    "run targets by hand": (hands.RUN_TARGETS, {"job": THREAD, "runs": "[]", "by": "eve", "busy": ""}),
    "run threads by hand": (
        hands.RUN_THREADS,
        {
            "job": THREAD,
            "by": "eve",
            "agent": "default",
            "stacks": False,
            "idle": 60.0,
            "filters": filters(),
            "ids": "0" * 20,
        },
    ),
    "history of a job": (history.HISTORY, {"job": THREAD, "limit": 50}),
    "odd due times": (history.ODD, {}),
    "old runs": (retention.OLD_RUNS, {"age": 90 * 86400.0, "batch": 5000}),
    "old occurrences": (retention.OLD_OCCURRENCES, {"age": 90 * 86400.0, "batch": 5000}),
    "take a destination": (deliveries.TAKE_HEAD, taking(destination=THREAD)),
    "next delivery": (deliveries.NEXT_HEAD, taking(destination=THREAD)),
    "finish a delivery": (deliveries.FINISH, taking(**finishing())),
    "give a destination back": (deliveries.GIVE_BACK, taking(destination=THREAD)),
    "take a sandbox": (sandbox_lane.TAKE_AND_BEGIN, beginning()),
    "begin more calls": (sandbox_lane.BEGIN_MORE, beginning()),
    "find who starves": (sandbox_lane.FIND_STARVED, {"max_concurrent": 12, "tried": [SANDBOX]}),
    "finish calls": (sandbox_lane.FINISH, taking(**ending())),
    "settle calls": (sandbox_lane.SETTLE, taking(sandbox=SANDBOX, text="t", events="[]")),
    "give a sandbox back": (sandbox_lane.GIVE_BACK, taking(sandbox=SANDBOX)),
    "sweep threads": (sweeping("thread"), {"token": 1, "grace": 1.0, "most": 500}),
    "sweep destinations": (sweeping("destination"), {"token": 1, "grace": 1.0, "most": 500}),
    "sweep sandboxes": (sweeping("sandbox"), {"token": 1, "grace": 1.0, "most": 500}),
    "cancelled turns": (leases.CANCELLED, {"ids": [TURN]}),
    "old events": (retention.OLD_EVENTS, {"age": 90 * 86400.0, "batch": 5000}),
    "old receipts": (retention.OLD_RECEIPTS, {"age": 30 * 86400.0, "batch": 5000}),
    "how runs stand": (STANDING, {"runs": [TURN]}),
    "renew threads": (
        leases.RENEW.format(table="thread", column="id", key="uuid"),
        {"ids": [THREAD], "tokens": [1], "owner": "me", "ttl": 15.0},
    ),
}

TYPES: list[tuple[type, str]] = [
    (bool, "boolean"), (int, "bigint"), (float, "float8"), (UUID, "uuid"), (str, "text"), (bytes, "bytea"),
    (type(None), "text"), (datetime, "timestamptz"),
]  # fmt: skip
LISTS = {UUID: "uuid[]", int: "bigint[]", str: "text[]"}


def type_of(value: Any) -> str:
    """The type that psycopg sends the parameter with."""
    if isinstance(value, list):
        return LISTS[type(value[0])] if value else "uuid[]"
    return next(name for kind, name in TYPES if isinstance(value, kind))


def plan_of(connection: psycopg.Connection[Any], statement: str, params: dict[str, Any], runs: int) -> Any:
    """The plan of the statement's nth run. After five Postgres may settle for a plan that fits all values.

    https://www.postgresql.org/docs/current/sql-prepare.html#SQL-PREPARE-NOTES
    """
    text = str(compiled(statement).compile(dialect=dialect.dialect()))  # type: ignore[no-untyped-call]
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    body = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", text).replace("%%", "%")
    types = ", ".join(type_of(params[name]) for name in names)
    connection.execute(f"PREPARE hot {f'({types})' if types else ''} AS {body}".encode())
    try:
        values = sql.SQL(", ").join(sql.Literal(params[name]) for name in names)
        explain = sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE hot" + (" ({})" if names else "")).format(values)
        for _ in range(runs):
            row = connection.execute(explain).fetchone()
    finally:
        connection.execute("DEALLOCATE hot")
    assert row
    return row[0][0]["Plan"]


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


@pytest.mark.parametrize("runs", [1, 7], ids=["first run", "seventh run"])
@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_no_hot_statement_reads_a_whole_table(big: psycopg.Connection[Any], name: str, runs: int) -> None:
    statement, params = STATEMENTS[name]
    plan = plan_of(big, statement, params, runs)
    whole = [
        (node["Relation Name"], node.get("Filter"))
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG
    ]
    assert whole == []
    # An index that is read from end to end is no better.
    unbounded = [
        node["Index Name"]
        for node in nodes(plan)
        if node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Index Scan")
        and node.get("Relation Name", "thread") in BIG
        and "Index Cond" not in node
        and node["Index Name"] not in PARTIAL
    ]
    assert unbounded == []


PARTIAL = {
    "ix_thread_wake_at",
    "ix_destination_wake_at",
    "ix_sandbox_wake_at",
    "ix_turn_open",
    "ix_approval_pending_until",
    "ix_job_due_scope",
    "ix_job_due_targets",
    "ix_job_run_open",
    "ix_job_run_queued",
    "ix_job_run_running",
}
"""Only lanes with work, open turns and runs, pending approvals and active jobs are in these."""


def test_the_tables_are_as_big_as_is_said(big: psycopg.Connection[Any]) -> None:
    """Of small tables Postgres would read all, and the above would fail for no reason, or pass for none."""
    for table in BIG - {"sandbox"}:
        row = big.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row
        assert row[0] >= THREADS


def test_the_plan_of_a_bad_statement_is_seen(big: psycopg.Connection[Any]) -> None:
    bad = "SELECT id FROM message WHERE text = :text"
    plan = plan_of(big, bad, {"text": "hello there"}, 7)
    assert any(node["Node Type"] == "Seq Scan" for node in nodes(plan))
