"""The statements that write to a turn, each a transaction of its own, fenced by the token of the thread's lane."""

from __future__ import annotations

from app.approvals import DIGEST
from app.audit import insert_events
from app.sandbox_lane import LIVE_RUNNER, use_sandbox

ENTRY_FORMAT = 1
"""The serialised messages of pydantic-ai 2."""

# What a step leaves behind is committed whole or not at all: its transcript messages, its usage, its calls, the turn's
# new state and, where it was the last, the reply and the deliveries that carry it.
# `asks`, `ends` and `twice` are empty but where there are approvals or a job's run; see below.
TEMPLATE = """
    WITH lane AS (
        UPDATE thread SET version = version + 1, last_active_at = now(),
            open_turns = open_turns - :closed,
            lease_owner = CASE WHEN :release THEN NULL ELSE lease_owner END,
            lease_until = CASE WHEN :release THEN NULL ELSE lease_until END,
            context_from = coalesce(CAST(:context_from AS bigint), context_from),
            wake_at = CASE
                WHEN NOT :release OR version <> :seen THEN now()
                WHEN :final AND open_turns > :closed THEN now()
                ELSE now() + make_interval(secs => CAST(:wake_in AS float)) END
        WHERE id = :thread AND lease_token = :token
            AND (CAST(:unchanged AS bigint) IS NULL OR version = :unchanged)
        RETURNING id, version, wake_at <= now() AS more
    ), absorbed AS (
        UPDATE turn SET state = 'done', absorbed_by = :turn, started_at = now(), finished_at = now()
        FROM lane
        WHERE turn.thread_id = :thread AND turn.id = ANY(CAST(:absorbed AS uuid[])) AND turn.state = 'queued'
    ), worked AS (
        UPDATE turn SET state = :state, step_count = :step_count, open_calls = :open_calls,
            failed_attempts = :failed_attempts, worked_ms = :worked_ms,
            retry_at = now() + make_interval(secs => CAST(:wake_in AS float)),
            answer = :answer, error = :error, finished_at = CASE WHEN :final THEN now() END
        FROM lane WHERE turn.id = :turn
    ) {ends}, dropped AS (
        UPDATE call SET finished_at = now(),
            state = CASE WHEN state = 'running' THEN 'interrupted' ELSE 'cancelled' END
        FROM {dropping} WHERE :final AND call.turn_id = :turn
            AND (call.state IN ('queued', 'awaiting_approval') OR call.state = 'running' AND call.place = 'worker')
    ), stepped AS (
        INSERT INTO step (id, turn_id, n, model, input_tokens, output_tokens, cost, took_ms)
        SELECT s.id, :turn, s.n, s.model, s.input_tokens, s.output_tokens, s.cost, s.took_ms
        FROM lane, jsonb_to_recordset(CAST(:steps AS jsonb)) AS s (
            id uuid, n bigint, model text, input_tokens bigint, output_tokens bigint, cost numeric, took_ms float)
    ), said AS (
        INSERT INTO entry (thread_id, seq, turn_id, kind, format, body)
        SELECT lane.id, e.seq, :turn, e.kind, {entry_format}, e.body
        FROM lane, jsonb_to_recordset(CAST(:entries AS jsonb)) AS e (seq bigint, kind text, body jsonb)
    ), box AS ({use_sandbox}), asked AS (
        INSERT INTO call (id, turn_id, step_n, ordinal, tool_call_id, tool, args, place, idempotent, state, result,
            sandbox_id, started_at, finished_at)
        SELECT c.id, :turn, :step_count, c.ordinal, c.tool_call_id, c.tool, c.args, c.place, c.idempotent, c.state,
            c.result, CASE WHEN c.place = 'runner' AND c.state IN ('queued', 'awaiting_approval') THEN box.id END,
            CASE WHEN c.state NOT IN ('queued', 'awaiting_approval') THEN now() END,
            CASE WHEN c.result IS NOT NULL THEN now() END
        FROM lane LEFT JOIN box ON true, jsonb_to_recordset(CAST(:calls AS jsonb)) AS c (
            id uuid, ordinal bigint, tool_call_id text, tool text, args jsonb, place text, idempotent boolean,
            state text, result text)
    ) {asks}, replied AS (
        INSERT INTO message (id, thread_id, turn_id, direction, actor, text)
        SELECT :message, lane.id, :turn, 'out', :agent, :answer FROM lane WHERE CAST(:answer AS text) IS NOT NULL
    ), places AS (
        INSERT INTO destination (id, adapter, address, last_seq, version, wake_at)
        SELECT p.id, :adapter, p.address, p.count, 1, now()
        FROM {dropping}, jsonb_to_recordset(CAST(:destinations AS jsonb)) AS p (id uuid, address text, count bigint)
        ON CONFLICT (adapter, address) DO UPDATE SET
            last_seq = destination.last_seq + excluded.last_seq, version = destination.version + 1, wake_at = now()
        RETURNING id, address, last_seq
    ), staged AS (
        INSERT INTO delivery (id, destination_id, seq, turn_id, kind, body, state)
        SELECT d.id, places.id, places.last_seq - d.from_last, d.turn_id, d.kind, d.body, 'pending'
        FROM places JOIN jsonb_to_recordset(CAST(:deliveries AS jsonb)) AS d (
            id uuid, address text, from_last bigint, turn_id uuid, kind text, body jsonb) USING (address)
        {twice}
    ), noted AS ({noted})
    SELECT lane.version, lane.more,
        (SELECT jsonb_agg(id) FROM places) AS destinations,
        box.id AS sandbox_id, {live_runner} AS runner
    FROM lane LEFT JOIN box ON true"""

BOX = "lane WHERE :use_sandbox"
PARTS = {
    "entry_format": ENTRY_FORMAT,
    "noted": insert_events("lane", thread="lane.id"),
    "live_runner": LIVE_RUNNER,
}

COMMIT = TEMPLATE.format(ends="", dropping="lane", asks="", twice="", use_sandbox=use_sandbox(BOX), **PARTS)

ENDS = """
    , ran AS (
        UPDATE job_run SET state = :run_state, error = :run_error, ended_at = now()
        FROM lane WHERE :final AND job_run.turn_id = :turn AND job_run.state = 'running'
    ), lapsed AS (
        UPDATE approval SET state = 'cancelled', decided_at = now(), decided_via = 'heyfleet', decided_by = (
            SELECT cancel_by FROM turn WHERE id = :turn)
        FROM lane, call WHERE :final AND approval.turn_id = :turn AND approval.state = 'pending'
            AND call.id = approval.call_id
        RETURNING approval.code, approval.call_id, approval.decided_by, call.tool
    ), told AS (
        INSERT INTO event (id, trace, kind, thread_id, turn_id, data)
        SELECT gen_random_uuid(), :trace, 'approval_cancelled', lane.id, :turn, jsonb_build_object(
            'approval', lapsed.code, 'call', lapsed.call_id, 'tool', lapsed.tool, 'adapter', CAST(:adapter AS text),
            'requester', CAST(:actor AS text), 'by', lapsed.decided_by, 'via', 'heyfleet')
        FROM lane, lapsed
    )"""
ASKS = f"""
    , questions AS (
        INSERT INTO approval (id, code, call_id, turn_id, thread_id, adapter, requester, digest, reason, details,
            state, expires_at)
        SELECT q.id, q.code, q.call, :turn, lane.id, :adapter, :actor, {DIGEST.format("c")}, q.reason, q.details,
            'pending', now() + make_interval(secs => q.expires_in)
        FROM lane, jsonb_to_recordset(CAST(:questions AS jsonb)) AS q (
                id uuid, code text, call uuid, reason text, details text, expires_in float)
            JOIN jsonb_to_recordset(CAST(:calls AS jsonb)) AS c (id uuid, tool text, args jsonb) ON c.id = q.call
    )"""

# With what few turns have: approvals, or a run of a job that ends with it. Approvals before calls and destinations, as
# a decision locks them. News of a card that was decided meanwhile are out already.
COMMIT_IN_FULL = TEMPLATE.format(
    ends=ENDS,
    dropping="lane, (SELECT count(*) FROM lapsed) AS first",
    asks=ASKS,
    twice="ON CONFLICT (turn_id, kind) DO NOTHING",
    use_sandbox=use_sandbox(BOX, wakes="CAST(:wakes AS boolean)"),
    **PARTS,
)

# Approved, a trusted tool's call is begun by whoever holds the thread.
BEGIN = """
    WITH lane AS (
        UPDATE thread SET version = version + 1 WHERE id = :thread AND lease_token = :token RETURNING id
    ), begun AS (
        UPDATE call SET state = 'running', started_at = now()
        FROM lane WHERE call.turn_id = :turn AND call.id = ANY(:calls) AND call.state = 'queued' RETURNING call.id
    )
    SELECT lane.id, ARRAY(SELECT id FROM begun) AS begun FROM lane"""

# Which of the turns that must not have been begun or ended are still so, and whether this one is still wanted.
STILL_QUEUED = """
    SELECT version, ARRAY(SELECT id FROM turn WHERE id = ANY(CAST(:fresh AS uuid[])) AND state = 'queued') AS queued,
        EXISTS (SELECT 1 FROM turn WHERE id = :turn AND cancel_by IS NOT NULL) AS cancelled
    FROM thread WHERE id = :thread AND lease_token = :token"""

STANDS = """
    SELECT turn.state, turn.step_count, turn.failed_attempts, thread.context_from
    FROM turn JOIN thread ON thread.id = turn.thread_id
    WHERE turn.id = :turn AND thread.id = :thread AND thread.lease_token = :token"""

RESULTS = f"""
    WITH lane AS (
        UPDATE thread SET version = version + 1 WHERE id = :thread AND lease_token = :token RETURNING id, version
    ), ended AS (
        UPDATE call SET state = r.state, result = r.result, finished_at = now()
        FROM lane, jsonb_to_recordset(CAST(:results AS jsonb)) AS r (id uuid, state text, result text)
        WHERE call.turn_id = :turn AND call.id = r.id AND call.state = 'running' RETURNING call.id
    ), unwanted AS (
        UPDATE call SET state = 'cancelled', finished_at = now()
        FROM ended WHERE call.parent_id = ended.id AND call.state = 'queued'
    ), worked AS (
        UPDATE turn SET open_calls = open_calls - (SELECT count(*) FROM ended),
            state = CASE WHEN open_calls = (SELECT count(*) FROM ended) THEN 'running' ELSE state END
        FROM lane WHERE turn.id = :turn
    ), noted AS ({insert_events("lane", thread="lane.id")})
    SELECT version FROM lane"""
