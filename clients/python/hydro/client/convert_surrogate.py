"""A surrogate as the tuner tells it."""

from __future__ import annotations

from hydro.api.tuner.v1 import surrogate_pb2
from hydro.client.surrogates import (
    LadderRung,
    LayerSlope,
    Profile,
    ProfilePoint,
    Surrogate,
    Transfer,
    TransferKind,
)


def surrogate_value(message: surrogate_pb2.Surrogate) -> Surrogate:
    """A surrogate as the tuner told it."""
    return Surrogate(
        name=message.name,
        state=surrogate_pb2.SurrogateState.Name(message.state).removeprefix("SURROGATE_STATE_"),
        state_reason=message.state_reason,
        requested_width=message.requested_width,
        width=message.width,
        depth=message.depth or 1.0,
        warnings=tuple(message.warnings),
        report=message.report,
        parameters=message.parameters,
        target_parameters=message.target_parameters,
        profile=_profile(message.profile),
        slopes=tuple(_slope(each) for each in message.checks.slopes),
        rungs=tuple(
            LadderRung(each.width, each.best_lr_log2, {one.lr_log2: one.validation_loss for one in each.losses})
            for each in message.checks.rungs
        ),
        transfers=tuple(
            Transfer(
                each.hyperparameter,
                TransferKind(surrogate_pb2.TransferKind.Name(each.kind).removeprefix("TRANSFER_KIND_")),
                each.explanation,
            )
            for each in message.transfers
        ),
    )


def _slope(message: surrogate_pb2.LayerSlope) -> LayerSlope:
    verdict = surrogate_pb2.CheckVerdict.Name(message.verdict).removeprefix("CHECK_VERDICT_")
    return LayerSlope(message.layer, message.slope, message.half_width, verdict)


def _profile(message: surrogate_pb2.Profile) -> Profile:
    points = (ProfilePoint(p.lanes, p.step_seconds, p.memory_bytes, p.segment_seconds) for p in message.fused)
    return Profile(
        tuple(points), message.separate_step_seconds, message.target_step_seconds, message.target_memory_bytes
    )
