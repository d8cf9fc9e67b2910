"""How long a trial had trained when it was measured."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; of measurements that are there nobody knows."""
    op.add_column("measurement", sa.Column("elapsed_seconds", sa.Double(), nullable=True))
