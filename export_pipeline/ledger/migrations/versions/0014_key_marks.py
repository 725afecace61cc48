"""What the deployment's keys are known by."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "key_marks",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("mark", sa.String, nullable=False),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("key_marks")
