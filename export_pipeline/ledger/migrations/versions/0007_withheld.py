"""Rows withheld from an access export."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", sa.Column("withheld", sa.BigInteger))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("jobs", "withheld")
