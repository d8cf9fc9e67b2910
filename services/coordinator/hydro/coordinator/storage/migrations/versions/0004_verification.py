"""What a study's surrogate has to show before it is tuned."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; studies that were created before asked for no check."""
    op.add_column("study", sa.Column("verification", sa.JSON(), server_default="{}", nullable=False))
