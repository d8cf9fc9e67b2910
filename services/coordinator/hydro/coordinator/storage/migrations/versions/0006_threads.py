"""The threads that a device has to give, and those that a bundle was planned for."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; of what is there nobody knows, and bundles run with the threads that their devices give."""
    for table in ("device", "bundle"):
        op.add_column(table, sa.Column("threads", sa.Integer(), server_default="0", nullable=False))
