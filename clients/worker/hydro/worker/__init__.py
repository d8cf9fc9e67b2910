"""The process that trains bundles on a device; and TrainingTask, what a user writes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydro.tuner.task import TrainingTask

__all__ = ["TrainingTask"]


def __getattr__(name: str) -> Any:
    # Lazily: a worker on a slot imports torch only where it takes no time from the pipeline run.
    if name != "TrainingTask":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hydro.tuner.task import TrainingTask

    return TrainingTask
