"""Scheduled exports, and which jobs they made."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table, and an index by who made a job."""
    op.create_table(
        "schedules",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
        sa.Column("frequency", sa.String, nullable=False),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("user_filter", sa.LargeBinary),
        sa.Column("webhook_id", sa.String, sa.ForeignKey("webhooks.id")),
        sa.Column("address", sa.LargeBinary),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("reason", sa.String),
        sa.Column("next_day", sa.Date, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("frequency in ('daily', 'weekly')", name="schedules_frequency"),
        sa.CheckConstraint("mode in ('full', 'incremental')", name="schedules_mode"),
        sa.CheckConstraint("(webhook_id is null) <> (address is null)", name="schedules_recipient"),
        sa.CheckConstraint("reason is null or not enabled", name="schedules_reason"),
    )
    op.create_index("jobs_created_by", "jobs", ["created_by", "number"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("jobs_created_by", "jobs")
    op.drop_table("schedules")
