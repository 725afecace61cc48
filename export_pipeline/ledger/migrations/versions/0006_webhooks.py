"""Endpoints of webhooks, messages to them and by e-mail, and the attempts to deliver these."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("reason", sa.String),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("previous_secret", sa.LargeBinary),
        sa.Column("previous_until", instant),
        sa.Column("failing_since", instant),
        sa.Column("created_at", instant, nullable=False),
        sa.CheckConstraint("status in ('active', 'disabled')", name="webhooks_status"),
        sa.CheckConstraint("(previous_secret is null) = (previous_until is null)", name="webhooks_rotation"),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("webhook_id", sa.String, sa.ForeignKey("webhooks.id", ondelete="CASCADE")),
        sa.Column("address", sa.LargeBinary),
        sa.Column("job_id", sa.String),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("once", sa.String, unique=True),
        sa.Column("test", sa.Boolean, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", instant),
        sa.Column("claim", sa.String),
        sa.Column("claimed_until", instant),
        sa.Column("error", sa.String),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("ended_at", instant),
        sa.CheckConstraint("state in ('pending', 'success', 'failed')", name="messages_state"),
        sa.CheckConstraint("(state = 'pending') = (next_attempt_at is not null)", name="messages_next"),
        sa.CheckConstraint("(webhook_id is null) <> (address is null)", name="messages_recipient"),
        sa.CheckConstraint("(claim is null) = (claimed_until is null)", name="messages_claim"),
    )
    op.create_index("messages_due", "messages", ["state", "next_attempt_at"])
    op.create_index("messages_of_webhook", "messages", ["webhook_id", "number"])
    op.create_table(
        "attempts",
        sa.Column(
            "message_id", sa.String, sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", instant, nullable=False),
        sa.Column("milliseconds", sa.Integer, nullable=False),
        sa.Column("code", sa.Integer),
        sa.Column("response", sa.String, nullable=False),
        sa.Column("error", sa.String),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("attempts", "messages", "webhooks"):
        op.drop_table(table)
