"""When a key was used last, and an index for the counts of an endpoint's deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add them."""
    op.add_column("keys", sa.Column("last_used_at", sa.DateTime(timezone=True)))
    op.create_index("messages_counted", "messages", ["webhook_id", "state"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("messages_counted", "messages")
    op.drop_column("keys", "last_used_at")
