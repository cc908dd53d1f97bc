"""deliveries in parts and in doubt, who a person is to an adapter, and the threads of a channel."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('delivery', sa.Column('sent', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False))
    op.add_column('delivery', sa.Column('doubtful', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('turn', sa.Column('sender', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False))
    op.add_column('role', sa.Column('state', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False))
    op.alter_column('attachment', 'body', nullable=True)
    op.add_column('attachment', sa.Column('size', sa.BigInteger(), nullable=True))
    op.add_column('attachment', sa.Column('source', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True))
    op.add_column('attachment', sa.Column('problem', sa.Text(), nullable=True))
    op.create_index('ix_thread_channel', 'thread', ['adapter', 'channel', 'last_asked_at'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_thread_channel', table_name='thread')
    op.drop_column('attachment', 'problem')
    op.drop_column('attachment', 'source')
    op.drop_column('attachment', 'size')
    # What was never fetched has no body.
    op.execute("UPDATE attachment SET body = '' WHERE body IS NULL")
    op.alter_column('attachment', 'body', nullable=False)
    op.drop_column('role', 'state')
    op.drop_column('turn', 'sender')
    op.drop_column('delivery', 'doubtful')
    op.drop_column('delivery', 'sent')
