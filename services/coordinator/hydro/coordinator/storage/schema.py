"""The tables. A change here needs a migration in `migrations/versions`; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _now() -> Column[object]:
    return Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now())


# JSON, not JSONB: it keeps a number as it was written, so 1e22 stays a float.
study = Table(
    "study",
    metadata,
    Column("name", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("uid", Text, nullable=False),
    Column("task", JSON(none_as_null=True)),
    Column("search_space", JSON, nullable=False),
    Column("objective_metric", Text, nullable=False),
    Column("objective_goal", Text, nullable=False),
    Column("further_objectives", JSON, nullable=False, server_default="[]"),
    Column("constraints", JSON, nullable=False, server_default="[]"),
    Column("known_points", JSON, nullable=False, server_default="[]"),
    Column("priors", JSON, nullable=False, server_default="[]"),
    Column("sampler", Text, nullable=False),
    # The external backend, and why the sampler was chosen.
    Column("sampling", JSON, nullable=False, server_default="{}"),
    Column("pruning", JSON, nullable=False),
    Column("max_steps", BigInteger, nullable=False),
    Column("surrogate_width", Double, nullable=False),
    # Of the surrogate: its depth, too.
    Column("verification", JSON, nullable=False, server_default="{}"),
    Column("population", JSON(none_as_null=True)),
    Column("max_trials", Integer, nullable=False),
    Column("parallelism", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("limits", JSON, nullable=False, server_default="{}"),
    Column("tags", JSONB, nullable=False, server_default="{}"),
    Column("state", Text, nullable=False),
    Column("state_reason", Text, nullable=False, server_default=""),
    Column("warnings", JSON, nullable=False, server_default="[]"),
    Column("surrogate", Text),
    Column("best_trial", Integer),
    # Numbers that the study has given out, so that a number is never used twice.
    Column("next_trial", Integer, nullable=False, server_default="0"),
    # The coordinator that decides for it; whoever takes it over raises the epoch, which every write compares.
    Column("owner", Text, nullable=False, server_default=""),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    # Seconds in SEARCHING before the last pause, and since when it is SEARCHING now.
    Column("searched_seconds", Double, nullable=False, server_default="0"),
    Column("search_time", DateTime(timezone=True)),
    _now(),
    Column("end_time", DateTime(timezone=True)),
    Index(None, "project", "name"),
)

trial = Table(
    "trial",
    metadata,
    Column("study", Text, ForeignKey("study.name", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_reason", Text, nullable=False, server_default=""),
    Column("hyperparameters", JSON, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("value", Double),
    Column("steps", BigInteger, nullable=False, server_default="0"),
    Column("slot_steps", BigInteger, nullable=False, server_default="0"),
    Column("device_seconds", Double, nullable=False, server_default="0"),
    Column("checkpoint", JSON(none_as_null=True)),
    Column("checkpoint_steps", BigInteger, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("retries", JSON, nullable=False, server_default="[]"),
    # Trials that may be in a bundle with it, while it is under suspicion of having ended one; 0: any number.
    Column("lane_limit", Integer, nullable=False, server_default="0"),
    Column("tags", JSONB, nullable=False, server_default="{}"),
    Column("bundle", BigInteger),
    # The report message of its bundle whose answer carried it as an insertion; 0: it was there from the start.
    Column("inserted_sequence", BigInteger, nullable=False, server_default="0"),
    Column("log", Text, nullable=False, server_default=""),
    # What its weights were trained with, and what became of the trial itself; empty while nothing has changed.
    Column("schedule", JSON, nullable=False, server_default="[]"),
    Column("changes", JSON, nullable=False, server_default="[]"),
    # The SuggestTrials request that it answered.
    Column("request_id", Text, nullable=False, server_default=""),
    # The index of the study's known point that it was made for.
    Column("known_point", Integer),
    # What its suggestion had known of other trials that no suggestion before it had; NULL: nothing could matter.
    Column("searched", JSON(none_as_null=True)),
    # What it has come to, where that is more than `value`.
    Column("result", JSON(none_as_null=True)),
    Column("revision", BigInteger, nullable=False),
    _now(),
    Column("end_time", DateTime(timezone=True)),
    Index("ix_trial_revision", "study", "revision"),
    Index("ix_trial_open", "study", "state", postgresql_where=text("state IN ('PENDING', 'RUNNING', 'PAUSED')")),
    Index("ix_trial_bundle", "bundle", postgresql_where=text("bundle IS NOT NULL")),
    # A known point has one trial, whatever the code above this line does.
    Index(
        "uq_trial_known_point", "study", "known_point", unique=True, postgresql_where=text("known_point IS NOT NULL")
    ),
)

# Trials of other studies that a study's search begins with, as they were when it was created.
prior_trial = Table(
    "prior_trial",
    metadata,
    Column("study", Text, ForeignKey("study.name", ondelete="CASCADE"), primary_key=True),
    # Below 0: before the study's own.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hyperparameters", JSON, nullable=False),
    Column("result", JSON, nullable=False),
    Column("steps", BigInteger, nullable=False),
)

measurement = Table(
    "measurement",
    metadata,
    Column("study", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("metrics", JSON, nullable=False),
    # The objective; NULL when it is missing or not finite.
    Column("value", Double),
    Column("verdict", Text, nullable=False),
    _now(),
    # Of the trial's own training; NULL: nobody counted.
    Column("elapsed_seconds", Double),
    ForeignKeyConstraint(["study", "number"], ["trial.study", "trial.number"], ondelete="CASCADE"),
)

device = Table(
    "device",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("cpu_cores", JSON, nullable=False),
    Column("gpu_index", Integer),
    Column("duty_cycle", Double, nullable=False),
    Column("bubble_seconds", Double, nullable=False),
    Column("source", Text, nullable=False),
    Column("threads", Integer, nullable=False, server_default="0"),
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

bundle = Table(
    "bundle",
    metadata,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("study", Text, ForeignKey("study.name", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("device", Text, ForeignKey("device.name"), nullable=False),
    Column("execution", Text, nullable=False),
    Column("max_lanes", Integer, nullable=False),
    Column("micro_lanes", Integer, nullable=False, server_default="0"),
    Column("threads", Integer, nullable=False, server_default="0"),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("segment_seconds", Double, nullable=False),
    Column("structure", JSON, nullable=False),
    Column("max_fusion_count", Integer, nullable=False, server_default="0"),
    Column("device_seconds", Double, nullable=False, server_default="0"),
    _now(),
    Column("end_time", DateTime(timezone=True)),
    Index("ix_bundle_study", "study"),
    # A device has one bundle at a time, whatever the code above this line does.
    Index("uq_bundle_live", "device", unique=True, postgresql_where=text("state <> 'ENDED'")),
)

lease = Table(
    "lease",
    metadata,
    Column("fencing_token", BigInteger, Identity(), primary_key=True),
    Column("bundle", BigInteger, ForeignKey("bundle.number", ondelete="CASCADE"), nullable=False),
    Column("device", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False, server_default="0"),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    _now(),
    Index("uq_lease_bundle", "bundle", unique=True, postgresql_where=text("state = 'ACTIVE'")),
    Index("uq_lease_device", "device", unique=True, postgresql_where=text("state = 'ACTIVE'")),
)

surrogate = Table(
    "surrogate",
    metadata,
    Column("name", Text, primary_key=True),
    Column("study", Text, ForeignKey("study.name", ondelete="CASCADE"), nullable=False),
    Column("state", Text, nullable=False),
    Column("state_reason", Text, nullable=False, server_default=""),
    Column("width", Double, nullable=False),
    Column("warnings", JSON, nullable=False, server_default="[]"),
    Column("fingerprint", Text, nullable=False, server_default=""),
    Column("lane_hyperparameters", JSON, nullable=False, server_default="[]"),
    Column("artifact", JSON(none_as_null=True)),
    Column("record", LargeBinary, nullable=False),
    UniqueConstraint("study"),
)

memory_miss = Table(
    "memory_miss",
    metadata,
    Column("study", Text, ForeignKey("study.name", ondelete="CASCADE"), primary_key=True),
    Column("device", Text, primary_key=True),
    Column("lanes", Integer, primary_key=True),
    Column("refused", Boolean, primary_key=True),
    Column("memory_bytes", BigInteger, nullable=False),
)

request = Table(
    "request",
    metadata,
    Column("method", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("answer", JSON, nullable=False),
    _now(),
    Index(None, "create_time"),
)

coordinator = Table(
    "coordinator",
    metadata,
    Column("id", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
)

# One row: devices, bundles, leases and the studies with a task have one owner.
allocation = Table(
    "allocation",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False, server_default=""),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
)

__all__ = [
    "allocation",
    "bundle",
    "coordinator",
    "device",
    "lease",
    "measurement",
    "memory_miss",
    "metadata",
    "prior_trial",
    "request",
    "study",
    "surrogate",
    "trial",
]
