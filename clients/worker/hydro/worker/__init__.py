"""The process that trains bundles on a device; and TrainingTask, what a user writes."""

from hydro.tuner.task import TrainingTask

__all__ = ["TrainingTask"]
