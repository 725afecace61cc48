"""What was sent and answered beside the bodies, and the last round of retention."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

HEADERS = ("request_headers", "response_headers")


def upgrade() -> None:
    """Add them; of attempts made before no headers are known."""
    for name in HEADERS:
        op.add_column("attempts", sa.Column(name, sa.JSON, nullable=False, server_default="{}"))
    op.create_table(
        "retention_rounds",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("retention_rounds")
    for name in HEADERS:
        op.drop_column("attempts", name)
