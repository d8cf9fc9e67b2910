"""Between the contract's messages of measurements and the SDK's values."""

from __future__ import annotations

from collections.abc import Mapping

from hydro.api.type.v1 import metric_pb2
from hydro.client.snapshots import Measurement


def measurement_message(
    step: int, metrics: Mapping[str, float], elapsed_seconds: float | None = None
) -> metric_pb2.Measurement:
    """Metrics after a number of optimizer steps, and of seconds of training."""
    return metric_pb2.Measurement(step=step, metrics=dict(metrics), elapsed_seconds=elapsed_seconds)


def measurement_of(message: metric_pb2.Measurement) -> Measurement:
    """The measurement as the coordinator told it."""
    seconds = message.elapsed_seconds if message.HasField("elapsed_seconds") else None
    return Measurement(message.step, dict(message.metrics), seconds)
