"""What bundles of a study met on a device: more memory than planned, or a refusal of it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; of bundles that ended before nothing is known."""
    op.create_table(
        "memory_miss",
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("lanes", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Boolean(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["study"], ["study.name"], name="fk_memory_miss_study", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study", "device", "lanes", "refused", name="pk_memory_miss"),
    )
