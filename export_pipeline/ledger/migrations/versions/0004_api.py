"""API keys, links, the log of downloads, and answers kept for their Idempotency-Key."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("hint", sa.String, nullable=False, index=True),
        sa.Column("hash", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("revoked_at", instant),
    )
    op.create_table(
        "links",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id"), nullable=False, index=True),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("expires_at", instant, nullable=False),
        sa.Column("revoked_at", instant),
    )
    op.create_table(
        "downloads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("link_id", sa.String, sa.ForeignKey("links.id"), nullable=False, index=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("key_id", sa.String, primary_key=True),
        sa.Column("route", sa.String, primary_key=True),
        sa.Column("hash", sa.String, primary_key=True),
        sa.Column("body_hash", sa.String, nullable=False),
        sa.Column("result_id", sa.String, nullable=False),
        sa.Column("created_at", instant, nullable=False, index=True),
        sa.Column("status", sa.Integer),
        sa.Column("data", sa.JSON),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("answers", "downloads", "links", "keys"):
        op.drop_table(table)
