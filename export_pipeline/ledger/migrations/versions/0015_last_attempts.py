"""When an endpoint was last tried, beside it; the index that counts deliveries lists them by state too."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the column, filled from the log of attempts."""
    op.add_column("webhooks", sa.Column("last_attempt_at", sa.DateTime(timezone=True)))
    op.execute(
        "update webhooks set last_attempt_at = (select max(attempts.at) from attempts join messages "
        "on messages.id = attempts.message_id where messages.webhook_id = webhooks.id)"
    )
    op.drop_index("messages_counted", "messages")
    op.create_index("messages_counted", "messages", ["webhook_id", "state", "number"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("messages_counted", "messages")
    op.create_index("messages_counted", "messages", ["webhook_id", "state"])
    op.drop_column("webhooks", "last_attempt_at")
