"""How far a database that is a source has been read."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "watermarks",
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("target", sa.String, primary_key=True),
        sa.Column("read_to", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("watermarks")
