"""Studies have several objectives, constraints, known points and priors; trials more than one value."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; what is there has one objective, and its value is all."""
    for column in ("further_objectives", "constraints", "known_points", "priors"):
        op.add_column("study", sa.Column(column, sa.JSON(), server_default="[]", nullable=False))
    op.add_column("trial", sa.Column("known_point", sa.Integer(), nullable=True))
    op.add_column("trial", sa.Column("result", sa.JSON(), nullable=True))
    op.create_index(
        "uq_trial_known_point",
        "trial",
        ["study", "known_point"],
        unique=True,
        postgresql_where=sa.text("known_point IS NOT NULL"),
    )
    op.create_table(
        "prior_trial",
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hyperparameters", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["study"], ["study.name"], name="fk_prior_trial_study", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study", "number", name="pk_prior_trial"),
    )
