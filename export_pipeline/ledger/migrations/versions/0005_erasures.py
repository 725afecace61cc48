"""Erasure requests, what was done for them, and how often rows of a day were erased."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables and the column."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "erasures",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("pass_id", sa.String, index=True),
        sa.Column("subject", sa.String, nullable=False, index=True),
        sa.Column("person", sa.LargeBinary),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("due_at", instant, nullable=False),
        sa.Column("started_at", instant),
        sa.Column("erased_at", instant),
        sa.Column("watermark", sa.BigInteger),
        sa.Column("ended_at", instant),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("error_message", sa.String),
        sa.Column("certificate", sa.String),
        sa.CheckConstraint("state in ('queued', 'processing', 'complete', 'failed')", name="erasures_state"),
        sa.CheckConstraint("state <> 'failed' or error_code is not null", name="erasures_failed"),
        sa.CheckConstraint(
            "state <> 'complete' or (person is null and certificate is not null)", name="erasures_complete"
        ),
    )
    op.create_table(
        "erasure_steps",
        sa.Column("pass_id", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("result", sa.JSON, nullable=False),
        sa.Column("done_at", instant, nullable=False),
    )
    op.add_column("data_versions", sa.Column("erasures", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop the tables and the column."""
    op.drop_column("data_versions", "erasures")
    op.drop_table("erasure_steps")
    op.drop_table("erasures")
