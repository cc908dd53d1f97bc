"""approvals, bypasses, control commands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CALL_BEFORE = "state IN ('queued', 'running', 'done', 'failed', 'interrupted', 'cancelled')"
CALL_NOW = (
    "state IN ('awaiting_approval', 'queued', 'running', 'done', 'failed', 'interrupted', 'cancelled', 'blocked', 'denied')"
)


def upgrade() -> None:
    op.drop_constraint(op.f('ck_call_state'), 'call')
    op.create_check_constraint(op.f('ck_call_state'), 'call', CALL_NOW)
    op.create_table('approval',
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('call_id', sa.Uuid(), nullable=False),
    sa.Column('turn_id', sa.Uuid(), nullable=False),
    sa.Column('thread_id', sa.Uuid(), nullable=False),
    sa.Column('adapter', sa.Text(), nullable=False),
    sa.Column('requester', sa.Text(), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('details', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('decided_by', sa.Text(), nullable=True),
    sa.Column('decided_via', sa.Text(), nullable=True),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.CheckConstraint("state IN ('pending', 'approved', 'denied', 'expired', 'cancelled')", name=op.f('ck_approval_state')),
    sa.ForeignKeyConstraint(['call_id'], ['call.id'], name=op.f('fk_approval_call_id')),
    sa.ForeignKeyConstraint(['thread_id'], ['thread.id'], name=op.f('fk_approval_thread_id')),
    sa.ForeignKeyConstraint(['turn_id'], ['turn.id'], name=op.f('fk_approval_turn_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_approval')),
    sa.UniqueConstraint('call_id', name=op.f('uq_approval_call_id')),
    sa.UniqueConstraint('code', name=op.f('uq_approval_code'))
    )
    op.create_index('ix_approval_created_at', 'approval', ['created_at'], unique=False)
    op.create_index('ix_approval_pending_thread', 'approval', ['thread_id'], unique=False, postgresql_where=sa.text("state = 'pending'"))
    op.create_index('ix_approval_pending_until', 'approval', ['expires_at'], unique=False, postgresql_where=sa.text("state = 'pending'"))
    op.create_index(op.f('ix_approval_turn_id'), 'approval', ['turn_id'], unique=False)
    op.create_table('bypass',
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('approval_id', sa.Uuid(), nullable=False),
    sa.Column('adapter', sa.Text(), nullable=False),
    sa.Column('team', sa.Text(), nullable=False),
    sa.Column('channel', sa.Text(), nullable=False),
    sa.Column('thread_id', sa.Uuid(), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('granted_by', sa.Text(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('revoked_by', sa.Text(), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.CheckConstraint("scope IN ('thread', 'channel', 'user', 'adapter')", name=op.f('ck_bypass_scope')),
    sa.ForeignKeyConstraint(['approval_id'], ['approval.id'], name=op.f('fk_bypass_approval_id')),
    sa.ForeignKeyConstraint(['thread_id'], ['thread.id'], name=op.f('fk_bypass_thread_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_bypass')),
    sa.UniqueConstraint('code', name=op.f('uq_bypass_code'))
    )
    op.create_index('ix_bypass_actor', 'bypass', ['adapter', 'actor', 'expires_at'], unique=False)
    op.create_index(op.f('ix_bypass_approval_id'), 'bypass', ['approval_id'], unique=False)
    op.add_column('turn', sa.Column('command', sa.Text(), nullable=True))


def downgrade() -> None:
    # What waits for an approval can't get one any more, and an older version would give a command to the model.
    op.execute("""
        WITH ended AS (
            UPDATE turn SET state = 'cancelled', finished_at = now(), error = 'the database was taken back a version'
            WHERE state IN ('queued', 'running', 'waiting') AND (command IS NOT NULL OR EXISTS (
                SELECT 1 FROM approval WHERE approval.turn_id = turn.id AND approval.state = 'pending'))
            RETURNING thread_id)
        UPDATE thread SET open_turns = open_turns - ended.count, version = version + 1, wake_at = now()
        FROM (SELECT thread_id, count(*) FROM ended GROUP BY thread_id) AS ended WHERE thread.id = ended.thread_id
    """)
    op.execute("UPDATE call SET state = 'cancelled' WHERE state IN ('awaiting_approval', 'blocked', 'denied')")
    op.drop_constraint(op.f('ck_call_state'), 'call')
    op.create_check_constraint(op.f('ck_call_state'), 'call', CALL_BEFORE)
    op.drop_column('turn', 'command')
    op.drop_index(op.f('ix_bypass_approval_id'), table_name='bypass')
    op.drop_index('ix_bypass_actor', table_name='bypass')
    op.drop_table('bypass')
    op.drop_index(op.f('ix_approval_turn_id'), table_name='approval')
    op.drop_index('ix_approval_pending_until', table_name='approval', postgresql_where=sa.text("state = 'pending'"))
    op.drop_index('ix_approval_pending_thread', table_name='approval', postgresql_where=sa.text("state = 'pending'"))
    op.drop_index('ix_approval_created_at', table_name='approval')
    op.drop_table('approval')
