"""Batches, the days they touched, data versions and suppressions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

COUNTS = ("received", "accepted", "rejected", "duplicate", "suppressed", "unknown_keys", "drift", "clamped")


def upgrade() -> None:
    """Make the tables."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "batches",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("target", sa.String, nullable=False, index=True),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("taken_at", instant, nullable=False),
        sa.Column("ended_at", instant),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in COUNTS),
        sa.CheckConstraint("state in ('taken', 'committed', 'abandoned')", name="batches_state"),
        sa.CheckConstraint(
            "state <> 'committed' or received = accepted + rejected + duplicate + suppressed",
            name="batches_add_up",
        ),
    )
    op.create_table(
        "batch_days",
        sa.Column("batch_id", sa.String, sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("rows", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "data_versions",
        sa.Column("data_type", sa.String, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("changed_at", instant, nullable=False),
    )
    op.create_table(
        "suppressions",
        sa.Column("key_hash", sa.String, primary_key=True),
        sa.Column("erased_at", instant, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("suppressions", "data_versions", "batch_days", "batches"):
        op.drop_table(table)
