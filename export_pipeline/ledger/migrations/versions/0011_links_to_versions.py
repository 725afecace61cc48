"""Which version of an export a link leads to."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column; links that were made before lead to the version that is shown."""
    op.add_column("links", sa.Column("path", sa.String))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("links", "path")
