"""For which schedule an endpoint was made, and how many of its deliveries are not kept any more."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

COUNTS = ("forgotten_successes", "forgotten_failures")


def upgrade() -> None:
    """Add the columns; of the endpoints that are there nobody knows, and nothing was forgotten."""
    op.add_column("webhooks", sa.Column("made_for", sa.String))
    for name in COUNTS:
        op.add_column("webhooks", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("messages_ended", "messages", ["ended_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("messages_ended", "messages")
    for name in (*COUNTS, "made_for"):
        op.drop_column("webhooks", name)
