"""Why a study has its sampler, and which external one."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; of studies that are there nobody knows."""
    op.add_column("study", sa.Column("sampling", sa.JSON(), server_default="{}", nullable=False))
