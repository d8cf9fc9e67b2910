"""What ends studies and trials, how often trials were run again, and tags."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; a study that searches has done so since now, for nobody kept since when."""
    op.add_column("study", sa.Column("limits", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("study", sa.Column("searched_seconds", sa.Double(), server_default="0", nullable=False))
    op.add_column("study", sa.Column("search_time", sa.DateTime(timezone=True), nullable=True))
    for table in ("study", "trial"):
        op.add_column(table, sa.Column("tags", JSONB(), server_default="{}", nullable=False))
    op.add_column("trial", sa.Column("retries", sa.JSON(), server_default="[]", nullable=False))
    op.add_column("trial", sa.Column("lane_limit", sa.Integer(), server_default="0", nullable=False))
    op.execute("UPDATE study SET search_time = clock_timestamp() WHERE state = 'SEARCHING'")
