"""What retention did: first days kept, expired daily exports, and what metrics were computed from."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "kept_from",
        sa.Column("data_type", sa.String, primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
    )
    op.create_table(
        "expired_exports",
        sa.Column("data_type", sa.String, primary_key=True),
        sa.Column("format", sa.String, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("data_version", sa.Integer, nullable=False),
        sa.Column("expired_at", instant, nullable=False),
        sa.Column("announced", sa.Boolean, nullable=False),
    )
    op.create_table(
        "metric_days",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("computed_from", sa.JSON, nullable=False),
        sa.Column("computed_at", instant, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("metric_days", "expired_exports", "kept_from"):
        op.drop_table(table)
