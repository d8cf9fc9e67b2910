"""Studies have a population, and trials go on from others with other hyperparameters."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; in what is there no trial has ever changed."""
    op.add_column("study", sa.Column("population", sa.JSON(none_as_null=True), nullable=True))
    for column in ("schedule", "changes"):
        op.add_column("trial", sa.Column(column, sa.JSON(), server_default="[]", nullable=False))
