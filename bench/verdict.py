"""What a chaos run must prove afterwards, read from the database, the counter file and the receiver."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.db import Database
from bench.traffic import Traffic, mark

SHOWN = 10
"""Examples of one kind of violation."""

OPEN = """
    SELECT (SELECT count(*) FROM turn WHERE state IN ('queued', 'running', 'waiting'))
        + (SELECT count(*) FROM delivery WHERE state IN ('pending', 'sending'))
        + (SELECT count(*) FROM call WHERE state IN ('queued', 'running')) AS open"""

UNFINISHED = """
    SELECT 'turn ' || turn.id || ' is ' || turn.state || coalesce(': ' || turn.error, '')
    FROM turn LEFT JOIN turn AS host ON host.id = turn.absorbed_by
    WHERE turn.state <> 'done' OR turn.finished_at IS NULL OR host.state <> 'done'"""
NO_MESSAGE = """
    SELECT 'turn ' || id || ' has ' || n || ' messages' FROM (
        SELECT turn.id, count(message.id) AS n FROM turn
        LEFT JOIN message ON message.turn_id = turn.id AND message.direction = 'in' GROUP BY turn.id) AS counted
    WHERE n <> 1"""
TWO_TURNS = """
    SELECT 'receipts: ' || (SELECT count(*) FROM receipt) || ', turns: ' || (SELECT count(*) FROM turn)
    WHERE (SELECT count(*) FROM receipt) <> (SELECT count(*) FROM turn)"""
# Of two turns of one thread that ran by themselves, the later one begins when the earlier one has ended.
OVERLAPS = """
    SELECT 'turn ' || b.id || ' (seq ' || b.seq || ') began ' || (a.finished_at - b.started_at) ||
        ' before turn ' || a.id || ' (seq ' || a.seq || ') had ended'
    FROM turn AS a JOIN turn AS b ON b.thread_id = a.thread_id AND b.seq > a.seq
    WHERE a.absorbed_by IS NULL AND b.absorbed_by IS NULL AND b.started_at < a.finished_at"""
STEPS = """
    SELECT 'turn ' || turn.id || ' counts ' || turn.step_count || ' steps and has ' || count(step.id)
    FROM turn LEFT JOIN step ON step.turn_id = turn.id
    GROUP BY turn.id HAVING count(step.id) <> turn.step_count OR coalesce(max(step.n), 0) <> turn.step_count"""
CALL_ENDS = """
    SELECT 'call ' || call.id || ' is ' || call.state || ' and has ended ' || count(event.id) || ' times'
    FROM call LEFT JOIN event ON event.kind LIKE 'call\\_%' AND event.data ->> 'call' = CAST(call.id AS text)
    GROUP BY call.id HAVING count(event.id) <> 1 OR call.finished_at IS NULL"""
DELIVERIES = """
    SELECT 'delivery ' || delivery.id || ' to ' || destination.address || ' is ' || delivery.state ||
        coalesce(': ' || delivery.error, '')
    FROM delivery JOIN destination ON destination.id = delivery.destination_id
    WHERE delivery.state <> CASE WHEN destination.address LIKE '%/gone' THEN 'failed' ELSE 'sent' END"""
NO_DELIVERY = """
    SELECT 'turn ' || turn.id || ' has ' || count(delivery.id) || ' deliveries'
    FROM turn LEFT JOIN delivery ON delivery.turn_id = turn.id GROUP BY turn.id HAVING count(delivery.id) <> 1"""
NOT_AT_REST = """
    SELECT 'a thread is held, due or open: ' || id FROM thread
        WHERE lease_owner IS NOT NULL OR wake_at IS NOT NULL OR open_turns <> 0
    UNION ALL SELECT 'a destination is held or due: ' || id FROM destination
        WHERE lease_owner IS NOT NULL OR wake_at IS NOT NULL
    UNION ALL SELECT 'a sandbox is held or due: ' || id FROM sandbox
        WHERE lease_owner IS NOT NULL OR wake_at IS NOT NULL
    UNION ALL SELECT 'a slot is taken: ' || n FROM slot WHERE call_id IS NOT NULL AND held_until > now()"""

IN_ROWS = {
    "R1 unfinished": UNFINISHED,
    "R1 message lost": NO_MESSAGE,
    "R2 two turns of one event": TWO_TURNS,
    "R3 overlap or disorder": OVERLAPS,
    "steps": STEPS,
    "call ended twice or never": CALL_ENDS,
    "R5 delivery": DELIVERIES,
    "R5 one delivery a turn": NO_DELIVERY,
    "not at rest": NOT_AT_REST,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run left behind."""

    db: Database
    traffic: Traffic
    counter: Path


def open_work(db: Database) -> int:
    """Turns, deliveries and calls that are not finished."""
    row = db.one(OPEN)
    assert row is not None
    return int(row.open)


def violations(evidence: Evidence) -> list[str]:
    """Everything that must not be, one line each; no line is proof."""
    found: list[str] = []
    for rule, statement in IN_ROWS.items():
        found += some(rule, [row[0] for row in evidence.db.rows(statement)])
    found += some("R1/R2 accepted", accepted(evidence))
    found += some("R1/R3 shown to the model", shown(evidence))
    found += some("R4 command", commands(evidence))
    found += some("R5 callback", callbacks(evidence))
    found += some("R5 order", order(evidence))
    return found


def some(rule: str, problems: list[str]) -> list[str]:
    """The first few, and how many more there are."""
    lines = [f"{rule}: {problem}" for problem in problems[:SHOWN]]
    return [*lines, f"{rule}: and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else lines


def accepted(evidence: Evidence) -> list[str]:
    """Every message was accepted; each answer to its copies and repetitions named the one turn that there is."""
    turns = {row[0]: row[1] for row in evidence.db.rows("SELECT event_key, CAST(turn_id AS text) FROM receipt")}
    problems = list(evidence.traffic.refused)
    for planned in evidence.traffic.planned:
        answered = evidence.traffic.runs.get(planned.event, set())
        if answered != {turns.get(f"event {planned.event}")}:
            problems.append(f"{planned.event} was answered with {answered}, has {turns.get(f'event {planned.event}')}")
    return problems


def shown(evidence: Evidence) -> list[str]:
    """Every message was put before the model exactly once, those of a thread in the order of their turns."""
    said: dict[str, list[str]] = defaultdict(list)
    for thread, body in evidence.db.rows(
        "SELECT CAST(thread_id AS text), CAST(body AS text) FROM entry WHERE kind = 'request' ORDER BY thread_id, seq"
    ):
        said[thread] += re.findall(r"msg-\d{6}", body)
    asked: dict[str, list[str]] = defaultdict(list)
    for thread, text in evidence.db.rows(
        "SELECT CAST(turn.thread_id AS text), message.text FROM turn JOIN message ON message.turn_id = turn.id "
        "WHERE message.direction = 'in' ORDER BY turn.thread_id, turn.seq"
    ):
        asked[thread].append(text[: len(mark(0))])
    return [
        f"thread {thread}: was asked {marks}, the model was shown {said[thread]}"
        for thread, marks in asked.items()
        if said[thread] != marks
    ]


def commands(evidence: Evidence) -> list[str]:
    """No command ran twice; each that is `done` ran once; none ran that nobody asked for."""
    lines = Counter(evidence.counter.read_text().split() if evidence.counter.exists() else [])
    problems = [f"{line} was run {times} times" for line, times in lines.items() if times > 1]
    calls: dict[str, list[str]] = defaultdict(list)
    for command, state in evidence.db.rows("SELECT args ->> 'command', state FROM call"):
        calls[command.split()[1]].append(state)
    for line, states in calls.items():
        if len(states) > 1:
            problems.append(f"{line} was asked for {len(states)} times")
        if "done" in states and not lines[line]:
            problems.append(f"the call of {line} is done, and it was not run")
    problems += [f"{line} was run, and no call asked for it" for line in lines if line not in calls]
    return problems


def callbacks(evidence: Evidence) -> list[str]:
    """Each turn that has an address was answered there, under one delivery id however often it was posted."""
    traffic = evidence.traffic
    problems = [f"{traffic.callbacks.bad} callbacks had a wrong signature"] if traffic.callbacks.bad else []
    for planned in traffic.planned:
        for run in traffic.runs.get(planned.event, ()):
            arrival = traffic.callbacks.arrived.get(run)
            if planned.receiver == "gone":
                continue
            if arrival is None:
                problems.append(f"{planned.event}: no callback for {run}")
            elif len(set(arrival.deliveries)) > 1:
                problems.append(f"{planned.event}: callbacks under {sorted(set(arrival.deliveries))}")
            elif arrival.status != "done":
                problems.append(f"{planned.event}: the callback says {arrival.status}: {arrival.text[:200]}")
    return problems


def order(evidence: Evidence) -> list[str]:
    """The callbacks of each destination came in the order of its deliveries."""
    places = {
        row[0]: (row[1], row[2])
        for row in evidence.db.rows("SELECT CAST(id AS text), CAST(destination_id AS text), seq FROM delivery")
    }
    last: dict[str, int] = {}
    problems: list[str] = []
    for delivery in evidence.traffic.order:
        if delivery not in places:
            problems.append(f"delivery {delivery} was posted and is in no row")
            continue
        destination, seq = places[delivery]
        if seq < last.get(destination, 0):
            problems.append(f"destination {destination}: delivery {seq} came after {last[destination]}")
        last[destination] = seq
    return problems


def figures(evidence: Evidence) -> dict[str, Any]:
    """How much of everything there was."""
    row = evidence.db.one(
        """SELECT (SELECT count(*) FROM turn) AS turns, (SELECT count(*) FROM turn WHERE absorbed_by IS NOT NULL) AS
        steers, (SELECT count(*) FROM step) AS steps, (SELECT count(*) FROM call) AS calls,
        (SELECT count(*) FROM call WHERE state = 'interrupted') AS "calls interrupted",
        (SELECT count(*) FROM delivery) AS deliveries,
        (SELECT count(*) FROM delivery WHERE attempts > 1) AS "deliveries tried again"
    """
    )
    assert row is not None
    return dict(row._mapping)
