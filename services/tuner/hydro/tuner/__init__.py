"""Shrinks models, fuses trials, plans bundles: a torch library first, a service second."""

from importlib import import_module
from typing import Any

_EXPORTS = {
    "BatchChange": "hydro.tuner.shrinking.batch_scaling",
    "Effect": "hydro.tuner.shrinking.transfer",
    "GroupedModel": "hydro.tuner.fusion.fuse",
    "ShrinkReport": "hydro.tuner.shrinking.report",
    "ShrunkModel": "hydro.tuner.shrinking.shrink",
    "TrainingTask": "hydro.tuner.task",
    "config_factory": "hydro.tuner.shrinking.config_factory",
    "fuse": "hydro.tuner.fusion.fuse",
    "shrink": "hydro.tuner.shrinking.shrink",
    "transfer_hyperparameters": "hydro.tuner.shrinking.transfer",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    # Lazily, so that the service, which runs no tensor itself, starts without torch.
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
