"""jobs, what became of their due times, and their runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('job',
    sa.Column('agent', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('schedule', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('anchor', sa.DateTime(timezone=True), nullable=False),
    sa.Column('targets', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.Column('scope', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.Column('idle', sa.Float(), nullable=True),
    sa.Column('prompt', sa.Text(), nullable=False),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('max_catch_up', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('paused_by', sa.Text(), nullable=True),
    sa.Column('gone_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('next_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('revision', sa.BigInteger(), server_default='1', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.CheckConstraint("kind IN ('cron', 'heartbeat')", name=op.f('ck_job_kind')),
    sa.CheckConstraint("max_catch_up IN ('0', '1', 'all')", name=op.f('ck_job_max_catch_up')),
    sa.CheckConstraint("state IN ('active', 'paused')", name=op.f('ck_job_state')),
    sa.CheckConstraint('(targets IS NULL) <> (scope IS NULL)', name=op.f('ck_job_one_reach')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_job')),
    sa.UniqueConstraint('agent', 'name', name=op.f('uq_job_agent_name'))
    )
    op.create_index('ix_job_due_scope', 'job', ['next_at'], unique=False, postgresql_where=sa.text("state = 'active' AND scope IS NOT NULL"))
    op.create_index('ix_job_due_targets', 'job', ['next_at'], unique=False, postgresql_where=sa.text("state = 'active' AND scope IS NULL"))
    op.create_table('occurrence',
    sa.Column('job_id', sa.Uuid(), nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('due_times', sa.BigInteger(), nullable=True),
    sa.Column('outcome', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('runs', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('passed_over', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('decided_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.CheckConstraint("outcome IN ('ran', 'late', 'skipped')", name=op.f('ck_occurrence_outcome')),
    sa.ForeignKeyConstraint(['job_id'], ['job.id'], name=op.f('fk_occurrence_job_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_occurrence')),
    sa.UniqueConstraint('job_id', 'due_at', name=op.f('uq_occurrence_job_id_due_at'))
    )
    op.create_index('ix_occurrence_decided_at', 'occurrence', ['decided_at'], unique=False)
    op.create_table('job_run',
    sa.Column('job_id', sa.Uuid(), nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('target', sa.Text(), nullable=False),
    sa.Column('adapter', sa.Text(), nullable=False),
    sa.Column('place', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.Column('thread_id', sa.Uuid(), nullable=True),
    sa.Column('fanned_out', sa.Boolean(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('asked_by', sa.Text(), nullable=True),
    sa.Column('turn_id', sa.Uuid(), nullable=True),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'skipped')", name=op.f('ck_job_run_state')),
    sa.ForeignKeyConstraint(['job_id'], ['job.id'], name=op.f('fk_job_run_job_id')),
    sa.ForeignKeyConstraint(['thread_id'], ['thread.id'], name=op.f('fk_job_run_thread_id')),
    sa.ForeignKeyConstraint(['turn_id'], ['turn.id'], name=op.f('fk_job_run_turn_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_job_run')),
    sa.UniqueConstraint('job_id', 'due_at', 'target', name=op.f('uq_job_run_job_id_due_at_target'))
    )
    op.create_index('uq_job_run_turn_id', 'job_run', ['turn_id'], unique=True, postgresql_where=sa.text('turn_id IS NOT NULL'))
    op.create_index('ix_job_run_created_at', 'job_run', ['created_at'], unique=False)
    op.create_index('ix_job_run_open', 'job_run', ['job_id', 'target'], unique=False, postgresql_where=sa.text("state IN ('queued', 'running')"))
    op.create_index('ix_job_run_queued', 'job_run', ['fanned_out', 'due_at', 'id'], unique=False, postgresql_where=sa.text("state = 'queued'"))
    op.create_index('ix_job_run_running', 'job_run', ['fanned_out'], unique=False, postgresql_where=sa.text("state = 'running'"))
    op.add_column('thread', sa.Column('last_asked_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False))
    # A heartbeat must not take every thread for one in which somebody wrote just now.
    op.execute('UPDATE thread SET last_asked_at = last_active_at')
    op.add_column('turn', sa.Column('job', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True))


def downgrade() -> None:
    op.drop_column('turn', 'job')
    op.drop_column('thread', 'last_asked_at')
    op.drop_index('uq_job_run_turn_id', table_name='job_run', postgresql_where=sa.text('turn_id IS NOT NULL'))
    op.drop_index('ix_job_run_running', table_name='job_run', postgresql_where=sa.text("state = 'running'"))
    op.drop_index('ix_job_run_queued', table_name='job_run', postgresql_where=sa.text("state = 'queued'"))
    op.drop_index('ix_job_run_open', table_name='job_run', postgresql_where=sa.text("state IN ('queued', 'running')"))
    op.drop_index('ix_job_run_created_at', table_name='job_run')
    op.drop_table('job_run')
    op.drop_index('ix_occurrence_decided_at', table_name='occurrence')
    op.drop_table('occurrence')
    op.drop_index('ix_job_due_targets', table_name='job', postgresql_where=sa.text("state = 'active' AND scope IS NULL"))
    op.drop_index('ix_job_due_scope', table_name='job', postgresql_where=sa.text("state = 'active' AND scope IS NOT NULL"))
    op.drop_table('job')
