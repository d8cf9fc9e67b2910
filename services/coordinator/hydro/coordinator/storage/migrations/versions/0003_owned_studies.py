"""Studies have an owner and an epoch, allocation has its own; suggested trials carry their request."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; requests answered before keep their answers."""
    op.create_table(
        "coordinator",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_coordinator"),
    )
    op.create_table(
        "allocation",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_allocation"),
    )
    op.execute("INSERT INTO allocation (number) VALUES (1)")
    op.add_column("study", sa.Column("owner", sa.Text(), server_default="", nullable=False))
    op.add_column("study", sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("trial", sa.Column("request_id", sa.Text(), server_default="", nullable=False))
    op.execute(
        "UPDATE trial SET request_id = request.request_id"
        " FROM request, json_array_elements_text(request.answer) AS name"
        " WHERE request.method = 'SuggestTrials' AND name = trial.study || '/trials/' || trial.number"
    )
    op.execute("DELETE FROM request WHERE method = 'SuggestTrials'")
    # Rungs are read once, into memory; nothing looks a rung up.
    op.drop_index("ix_measurement_rung", "measurement")
