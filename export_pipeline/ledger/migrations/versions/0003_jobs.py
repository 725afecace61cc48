"""Export jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("user_filter", sa.LargeBinary),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", instant, nullable=False, index=True),
        sa.Column("started_at", instant),
        sa.Column("ended_at", instant),
        sa.Column("expires_at", instant),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("processed_rows", sa.BigInteger, nullable=False),
        sa.Column("estimated_rows", sa.BigInteger, nullable=False),
        sa.Column("estimated_bytes", sa.BigInteger, nullable=False),
        sa.Column("estimated_completion", instant, nullable=False),
        sa.Column("rows", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("path", sa.String),
        sa.Column("error_code", sa.String),
        sa.Column("error_message", sa.String),
        sa.CheckConstraint(
            "state in ('queued', 'processing', 'complete', 'failed', 'cancelled', 'expired')",
            name="jobs_state",
        ),
        sa.CheckConstraint(
            "state not in ('complete', 'expired') or (path is not null and expires_at is not null)",
            name="jobs_complete",
        ),
        sa.CheckConstraint("state <> 'failed' or error_code is not null", name="jobs_failed"),
        sa.CheckConstraint(
            "user_filter is null or state in ('queued', 'processing')", name="jobs_forget_users"
        ),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("jobs")
