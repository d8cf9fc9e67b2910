"""Studies, trials, measurements, devices, bundles, leases, surrogates, requests."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Goes forward; there is no way back."""
    _create_device()
    _create_request()
    _create_study()
    _create_bundle()
    _create_surrogate()
    _create_trial()
    _create_lease()
    _create_measurement()


def _create_device() -> None:
    op.create_table(
        "device",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("cpu_cores", sa.JSON(), nullable=False),
        sa.Column("gpu_index", sa.Integer(), nullable=True),
        sa.Column("duty_cycle", sa.Double(), nullable=False),
        sa.Column("bubble_seconds", sa.Double(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_device")),
    )


def _create_request() -> None:
    op.create_table(
        "request",
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("method", "request_id", name=op.f("pk_request")),
    )
    op.create_index(op.f("ix_request_create_time"), "request", ["create_time"], unique=False)


def _create_study() -> None:
    op.create_table(
        "study",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("task", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("search_space", sa.JSON(), nullable=False),
        sa.Column("objective_metric", sa.Text(), nullable=False),
        sa.Column("objective_goal", sa.Text(), nullable=False),
        sa.Column("sampler", sa.Text(), nullable=False),
        sa.Column("pruning", sa.JSON(), nullable=False),
        sa.Column("max_steps", sa.BigInteger(), nullable=False),
        sa.Column("surrogate_width", sa.Double(), nullable=False),
        sa.Column("max_trials", sa.Integer(), nullable=False),
        sa.Column("parallelism", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("warnings", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("surrogate", sa.Text(), nullable=True),
        sa.Column("best_trial", sa.Integer(), nullable=True),
        sa.Column("next_trial", sa.Integer(), server_default="0", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_study")),
    )
    op.create_index(op.f("ix_study_project"), "study", ["project", "name"], unique=False)


def _create_bundle() -> None:
    op.create_table(
        "bundle",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("execution", sa.Text(), nullable=False),
        sa.Column("max_lanes", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("segment_seconds", sa.Double(), nullable=False),
        sa.Column("structure", sa.JSON(), nullable=False),
        sa.Column("max_fusion_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("device_seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["device"], ["device.name"], name=op.f("fk_bundle_device")),
        sa.ForeignKeyConstraint(["study"], ["study.name"], name=op.f("fk_bundle_study"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_bundle")),
    )
    op.create_index("ix_bundle_study", "bundle", ["study"], unique=False)
    op.create_index("uq_bundle_live", "bundle", ["device"], unique=True, postgresql_where=sa.text("state <> 'ENDED'"))


def _create_surrogate() -> None:
    op.create_table(
        "surrogate",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("width", sa.Double(), nullable=False),
        sa.Column("warnings", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("fingerprint", sa.Text(), server_default="", nullable=False),
        sa.Column("lane_hyperparameters", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("artifact", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["study"], ["study.name"], name=op.f("fk_surrogate_study"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_surrogate")),
        sa.UniqueConstraint("study", name=op.f("uq_surrogate_study")),
    )


def _create_trial() -> None:
    op.create_table(
        "trial",
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("hyperparameters", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("steps", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("slot_steps", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("device_seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("checkpoint", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("checkpoint_steps", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("bundle", sa.BigInteger(), nullable=True),
        sa.Column("inserted_sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("log", sa.Text(), server_default="", nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["study"], ["study.name"], name=op.f("fk_trial_study"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study", "number", name=op.f("pk_trial")),
    )
    op.create_index(
        "ix_trial_bundle", "trial", ["bundle"], unique=False, postgresql_where=sa.text("bundle IS NOT NULL")
    )
    op.create_index(
        "ix_trial_open",
        "trial",
        ["study", "state"],
        unique=False,
        postgresql_where=sa.text("state IN ('PENDING', 'RUNNING', 'PAUSED')"),
    )
    op.create_index("ix_trial_revision", "trial", ["study", "revision"], unique=False)


def _create_lease() -> None:
    op.create_table(
        "lease",
        sa.Column("fencing_token", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("bundle", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["bundle"], ["bundle.number"], name=op.f("fk_lease_bundle"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("fencing_token", name=op.f("pk_lease")),
    )
    op.create_index("uq_lease_bundle", "lease", ["bundle"], unique=True, postgresql_where=sa.text("state = 'ACTIVE'"))
    op.create_index("uq_lease_device", "lease", ["device"], unique=True, postgresql_where=sa.text("state = 'ACTIVE'"))


def _create_measurement() -> None:
    op.create_table(
        "measurement",
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["study", "number"], ["trial.study", "trial.number"], name=op.f("fk_measurement_study"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study", "number", "step", name=op.f("pk_measurement")),
    )
    op.create_index("ix_measurement_rung", "measurement", ["study", "step", "value"], unique=False)
