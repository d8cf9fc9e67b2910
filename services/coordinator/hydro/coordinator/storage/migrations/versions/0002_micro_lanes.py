"""How many lanes of a bundle run at once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; bundles that were planned before run all their lanes at once, as they did."""
    op.add_column("bundle", sa.Column("micro_lanes", sa.Integer(), server_default="0", nullable=False))
