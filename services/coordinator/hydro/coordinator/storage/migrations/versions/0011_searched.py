"""What a trial's suggestion had known of the others."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; of trials that are there nobody knows."""
    op.add_column("trial", sa.Column("searched", sa.JSON(), nullable=True))
