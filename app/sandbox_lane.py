"""The statements of a sandbox's lane: taking it with its next calls, and committing how they ended."""

from __future__ import annotations

from app.audit import insert_events
from app.leases import FREE, RELEASE, TAKE

RUNNER_LIVES = "stopped_at IS NULL AND heartbeat_at > now() - interval '45 seconds'"

# Somewhere lives a runner that can run it: a wake for nobody would lie in its queue for ever.
OFFERED = f"EXISTS (SELECT 1 FROM runner WHERE {RUNNER_LIVES} AND runtimes @> to_jsonb({{sandbox}}.runtime))"

FREE_SLOT = "n <= :max_concurrent AND (held_until IS NULL OR held_until < now())"

# Of a sandbox: the live runner that its files tie it to.
TIED_TO = f"""
    (SELECT runner.id FROM runner
        WHERE runner.workspace_id = {{sandbox}}.workspace_id AND {RUNNER_LIVES}
            AND runner.runtimes @> to_jsonb({{sandbox}}.runtime)
        ORDER BY runner.id = {{sandbox}}.runner_id DESC NULLS LAST LIMIT 1)"""

# The sandbox that was woken first. Its wake was taken while no slot was free, or is still on its way.
STARVED = f"""
    (SELECT jsonb_build_object('id', id, 'runtime', runtime, 'workspace', workspace_id,
            'runner', {TIED_TO.format(sandbox="starved")})
        FROM sandbox AS starved
        WHERE starved.wake_at <= now() AND {FREE} AND NOT starved.id = ANY(CAST(:tried AS uuid[]))
            AND {OFFERED.format(sandbox="starved")}
        ORDER BY wake_at LIMIT 1) AS starved"""

FIND_STARVED = f"SELECT {STARVED} WHERE EXISTS (SELECT 1 FROM slot WHERE {FREE_SLOT})"

# Of the sandbox `box`: the runner that has it, if that lives.
LIVE_RUNNER = f"(SELECT id FROM runner WHERE runner.id = box.runner_id AND {RUNNER_LIVES})"


def use_sandbox(source: str, *, wakes: str = "true") -> str:
    """An INSERT that makes sure that a sandbox is there, if `source` (a FROM) has a row, and is woken if `wakes`."""
    return f"""
        INSERT INTO sandbox (id, agent, runtime, scope_key, wake_at, version)
        SELECT :sandbox, :agent, :runtime, :scope_key, CASE WHEN {wakes} THEN now() END, 1 FROM {source}
        ON CONFLICT (agent, runtime, scope_key) DO UPDATE SET version = sandbox.version + 1,
            wake_at = CASE WHEN {wakes} THEN now() ELSE sandbox.wake_at END
        RETURNING id, runner_id"""


# A free slot for each call of the fleet's limit; none may be begun before what a dead runner left running is settled.
BEGIN_CALLS = f"""
    , seats AS (
        SELECT n, row_number() OVER (ORDER BY n) AS place FROM (
            SELECT n FROM slot WHERE {FREE_SLOT}
            ORDER BY n LIMIT :side_by_side FOR UPDATE SKIP LOCKED) AS free
    ), wanted AS (
        SELECT id, row_number() OVER (ORDER BY created_at, ordinal) AS place FROM call
        WHERE sandbox_id = :sandbox AND state = 'queued'
            AND NOT EXISTS (SELECT 1 FROM call WHERE sandbox_id = :sandbox AND state = 'running')
        ORDER BY created_at, ordinal LIMIT :side_by_side
    ), begun AS (
        UPDATE call SET state = 'running', runner_id = :runner, started_at = now()
        FROM wanted JOIN seats USING (place), lane
        WHERE call.id = wanted.id AND call.state = 'queued'
        RETURNING call.id, call.turn_id, call.tool, call.args, call.ordinal, call.idempotent, seats.n AS seat
    ), seated AS (
        UPDATE slot SET call_id = begun.id, held_until = now() + make_interval(secs => :ttl)
        FROM begun WHERE slot.n = begun.seat
    )
    SELECT lane.lease_token, sandbox.version + 1 AS seen, lane.runtime, lane.scope_key, lane.generation,
        CASE WHEN lane.generation <> :warm_generation THEN sandbox.snapshot END AS snapshot,
        (SELECT jsonb_agg(jsonb_build_object(
                'id', begun.id, 'turn', turn_id, 'thread', turn.thread_id, 'tool', tool, 'args', args,
                'trace', turn.trace,
                'cancelled', turn.cancel_by IS NOT NULL,
                'files', thread.has_files) ORDER BY begun.ordinal)
            FROM begun JOIN turn ON turn.id = begun.turn_id JOIN thread ON thread.id = turn.thread_id) AS calls,
        EXISTS (SELECT 1 FROM call WHERE sandbox_id = :sandbox AND state = 'running') AS orphans
    FROM lane JOIN sandbox ON sandbox.id = lane.id"""

# Without a free slot there is nothing to take it for, unless a dead runner's calls are to be settled.
# A sandbox whose files are in a folder goes to runners that have the folder, as long as one of them lives.
TAKE_AND_BEGIN = f"""
    WITH lane AS (
        UPDATE sandbox SET {TAKE}, runner_id = :runner, last_used_at = now(),
            workspace_id = coalesce(CAST(:workspace AS text), workspace_id)
        WHERE id = :sandbox AND {FREE} AND wake_at <= now()
            AND (EXISTS (SELECT 1 FROM slot WHERE {FREE_SLOT})
                OR EXISTS (SELECT 1 FROM call WHERE sandbox_id = :sandbox AND state = 'running'))
            AND (CAST(:workspace AS text) IS NULL OR workspace_id IS NULL OR workspace_id = :workspace OR NOT EXISTS (
                SELECT 1 FROM runner WHERE runner.workspace_id = sandbox.workspace_id AND {RUNNER_LIVES}))
        RETURNING id, lease_token, runtime, scope_key, generation
    ) {BEGIN_CALLS}"""

BEGIN_MORE = f"""
    WITH lane AS (
        UPDATE sandbox SET version = version + 1 WHERE id = :sandbox AND lease_token = :token
        RETURNING id, lease_token, runtime, scope_key, generation
    ) {BEGIN_CALLS}"""

# What ended calls mean to the rest: their slots are free, their turns wait for fewer, their threads have work. For what
# a trusted tool asked for, that tool waits, and no turn.
AFTERWARDS = f"""
    , freed AS (
        UPDATE slot SET call_id = NULL, held_until = NULL FROM ended WHERE slot.call_id = ended.id
    ), rung AS (
        UPDATE thread SET version = thread.version + 1, wake_at = now()
        WHERE id IN (
            SELECT turn.thread_id FROM ended JOIN turn ON turn.id = ended.turn_id WHERE ended.parent_id IS NULL)
        RETURNING id
    ), counted AS (
        UPDATE turn SET open_calls = open_calls - sums.n
        FROM (SELECT turn_id, count(*) AS n FROM ended WHERE parent_id IS NULL GROUP BY turn_id) AS sums,
            (SELECT count(*) FROM rung) AS first
        WHERE turn.id = sums.turn_id RETURNING turn.thread_id, turn.open_calls
    ), noted AS ({insert_events("lane")})"""

FINISH = f"""
    WITH lane AS (
        UPDATE sandbox SET version = version + 1, last_used_at = now(),
            generation = generation + (CASE WHEN :changed THEN 1 ELSE 0 END),
            snapshot = CASE WHEN :changed THEN CAST(:snapshot AS bytea) ELSE snapshot END,
            lease_owner = CASE WHEN idle AND version = :seen THEN NULL ELSE lease_owner END,
            lease_until = CASE WHEN idle AND version = :seen THEN NULL ELSE lease_until END,
            wake_at = CASE WHEN idle AND version = :seen THEN NULL ELSE now() END
        FROM (SELECT NOT EXISTS (
                SELECT 1 FROM call WHERE sandbox_id = :sandbox AND state = 'queued') AS idle) AS others
        WHERE id = :sandbox AND lease_token = :token
        RETURNING id, lease_until, generation
    ), ended AS (
        UPDATE call SET state = r.state, result = r.result, finished_at = now()
        FROM lane, jsonb_to_recordset(CAST(:results AS jsonb)) AS r (id uuid, state text, result text)
        WHERE call.sandbox_id = :sandbox AND call.id = r.id AND call.state = 'running'
        RETURNING call.id, call.turn_id, call.parent_id
    ), sent AS (
        INSERT INTO attachment (id, turn_id, direction, name, media_type, body)
        SELECT f.id, f.turn_id, 'out', f.name, f.media_type, decode(f.data, 'base64')
        FROM lane, jsonb_to_recordset(CAST(:files AS jsonb))
            AS f (id uuid, turn_id uuid, name text, media_type text, data text)
        ON CONFLICT (id) DO NOTHING
    ) {AFTERWARDS}
    SELECT lane.generation, lane.lease_until IS NULL AS released,
        (SELECT jsonb_agg(thread_id) FROM counted WHERE open_calls <= 0) AS threads,
        {STARVED}
    FROM lane"""

SETTLE = f"""
    WITH lane AS (SELECT id FROM sandbox WHERE id = :sandbox AND lease_token = :token FOR UPDATE),
    again AS (
        UPDATE call SET state = 'queued', runner_id = NULL, started_at = NULL
        FROM lane WHERE sandbox_id = :sandbox AND state = 'running' AND idempotent
    ), ended AS (
        UPDATE call SET state = 'interrupted', result = :text, finished_at = now()
        FROM lane WHERE sandbox_id = :sandbox AND state = 'running' AND NOT idempotent
        RETURNING call.id, call.turn_id, call.parent_id
    ) {AFTERWARDS}, told AS (
        INSERT INTO event (id, trace, kind, thread_id, turn_id, data)
        SELECT gen_random_uuid(), turn.trace, 'call_interrupted', turn.thread_id, turn.id,
            jsonb_build_object('call', ended.id)
        FROM ended JOIN turn ON turn.id = ended.turn_id
    )
    SELECT (SELECT jsonb_agg(thread_id) FROM counted WHERE open_calls <= 0) AS threads FROM lane"""

GIVE_BACK = f"""
    UPDATE sandbox SET {RELEASE}, version = version + 1,
        wake_at = CASE WHEN version <> :seen OR EXISTS (
            SELECT 1 FROM call WHERE sandbox_id = :sandbox AND state = 'queued') THEN now() END
    WHERE id = :sandbox AND lease_token = :token RETURNING id"""

# Of the whole thread: a file may have come with a steer, or with a message whose turn made no call.
INBOX_FILES = """
    SELECT attachment.id, attachment.name, attachment.body
    FROM turn AS asking
    JOIN turn ON turn.thread_id = asking.thread_id AND (turn.seq <= asking.seq OR turn.absorbed_by = asking.id)
    JOIN attachment ON attachment.turn_id = turn.id AND attachment.direction = 'in' AND attachment.body IS NOT NULL
    WHERE asking.id = :turn AND NOT attachment.id = ANY(CAST(:known AS uuid[])) ORDER BY attachment.id"""

SEED_SLOTS = "INSERT INTO slot (n) SELECT generate_series(1, CAST(:count AS bigint)) ON CONFLICT DO NOTHING"
