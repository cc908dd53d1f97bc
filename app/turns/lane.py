"""The statements that take a thread's lane, read the work that there is, and give it back."""

from __future__ import annotations

from app.control.commands import IN_TURN
from app.leases import FREE, RELEASE, TAKE
from app.states import ACTIVE_TURNS, OPEN_TURNS, sql_list

GRACE_SECONDS = 5
"""That a web process is given to carry out a command which it accepted."""

# The oldest open turn is the one to work on; it becomes `running` here, so that starting it costs no round trip.
TAKE_LANE = f"""
    WITH lane AS (
        UPDATE thread SET {TAKE} WHERE id = :thread AND {FREE} AND wake_at <= now()
        RETURNING id, version, lease_token
    ), started AS (
        UPDATE turn SET state = 'running', started_at = coalesce(started_at, now())
        FROM lane
        WHERE turn.id = (
                SELECT id FROM turn
                WHERE thread_id = :thread AND state IN ({sql_list(OPEN_TURNS)}) ORDER BY seq LIMIT 1)
            AND turn.state IN ('queued', 'waiting') AND turn.open_calls = 0
            AND (turn.retry_at IS NULL OR turn.retry_at <= now() OR turn.cancel_by IS NOT NULL)
            AND (turn.command IS NULL OR split_part(turn.command, ' ', 1) IN ({", ".join(map(repr, sorted(IN_TURN)))})
                OR turn.created_at < now() - interval '{GRACE_SECONDS} seconds')
        RETURNING turn.id
    )"""

# The calls are those of the transcript's last step, whose results the model has not seen: the current turn's, or those
# that a turn left behind which ended before. A provider refuses a transcript in which a call stays without a result.
# Read from the statement's snapshot, which is older than the row that the UPDATE above may have waited for. If anything
# was written to the lane in between, `seen` is not the version just before ours, and the facts are of no use.
FACTS = f"""
    SELECT thread.version AS seen, thread.agent, thread.adapter, thread.team, thread.key, thread.channel,
        thread.context_from, now() AS now,
        (SELECT jsonb_agg(to_jsonb(turns) ORDER BY seq) FROM (
            SELECT turn.*,
                (SELECT jsonb_agg(jsonb_build_object('text', text, 'data', data) ORDER BY id)
                    FROM message WHERE turn_id = turn.id AND direction = 'in') AS messages,
                (SELECT jsonb_agg(jsonb_build_object('id', id, 'name', name, 'media_type', media_type,
                        'size', coalesce(length(body), size), 'text', text, 'problem', problem,
                        'source', CASE WHEN body IS NULL AND problem IS NULL THEN source END) ORDER BY id)
                    FROM attachment WHERE turn_id = turn.id AND direction = 'in') AS files
            FROM turn WHERE thread_id = thread.id AND state IN ({sql_list(OPEN_TURNS)})
            ORDER BY seq LIMIT 50) AS turns) AS turns,
        (SELECT jsonb_agg(jsonb_build_object(
                'id', absorbed.id, 'reply', absorbed.reply, 'actor', absorbed.actor) ORDER BY absorbed.seq)
            FROM turn JOIN turn AS absorbed ON absorbed.absorbed_by = turn.id
            WHERE turn.thread_id = thread.id AND turn.state IN ({sql_list(ACTIVE_TURNS)})) AS absorbed,
        (SELECT jsonb_agg(to_jsonb(call) ORDER BY ordinal)
            FROM (SELECT turn_id FROM entry
                WHERE thread_id = thread.id AND seq >= thread.context_from ORDER BY seq DESC LIMIT 1) AS last
            JOIN turn ON turn.id = last.turn_id
            JOIN call ON call.turn_id = turn.id AND call.step_n = turn.step_count
                AND call.parent_id IS NULL) AS calls,
        (SELECT jsonb_agg(jsonb_build_object('id', approval.id, 'code', code, 'tool', call.tool))
            FROM approval JOIN call ON call.id = approval.call_id
            WHERE approval.thread_id = thread.id AND approval.state = 'pending') AS asked,
        (SELECT jsonb_agg(jsonb_build_object('seq', seq, 'kind', kind, 'body', body) ORDER BY seq)
            FROM entry WHERE thread_id = thread.id AND seq >= thread.context_from) AS entries"""

TAKE_WITH_FACTS = f"""{TAKE_LANE} {FACTS}, lane.version, lane.lease_token, started.id AS started
    FROM lane JOIN thread ON thread.id = lane.id LEFT JOIN started ON true"""

REREAD = f"""{FACTS}, thread.version, thread.lease_token, NULL AS started
    FROM thread WHERE id = :thread AND lease_token = :token"""

GIVE_BACK = f"""
    UPDATE thread SET {RELEASE}, version = version + 1,
        wake_at = CASE WHEN version <> :seen THEN now() ELSE CAST(:wake_at AS timestamptz) END
    WHERE id = :thread AND lease_token = :token RETURNING wake_at <= now() AS more"""
