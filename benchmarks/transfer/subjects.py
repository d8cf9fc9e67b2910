"""The four searches: a task, its target's width, and where its learning rates are looked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.transfer.tasks import ConvolutionDigits, PerceptronDigits, TransformerDigits, example
from hydro.tuner.task import TrainingTask

STEPS_PER_OCTAVE = 4
"""The grid of learning rates: 2^(k/4)."""

WIDTHS = (1 / 2, 1 / 4, 1 / 8)
"""Of the surrogates, over the target."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One model's learning rates. Rates are whole exponents of 2^(1/4)."""

    name: str
    target_width: int
    steps: int
    octaves: tuple[int, int]
    """First and last exponent of two, of the coarse search."""
    classes: int
    """A run that ends above the loss of a guess among them has learned nothing."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 8
    widths: tuple[float, ...] = WIDTHS
    must_settle: bool = True
    """Whether the search goes on until there are worse rates on both sides of the best."""

    @property
    def chance(self) -> float:
        """The loss of a guess."""
        return math.log(self.classes)

    @property
    def task(self) -> TrainingTask:
        """What is trained."""
        return TASKS[self.name]() if self.name in TASKS else example("char_lm:CharacterLanguageModel")

    def values(self, width: int) -> dict[str, Any]:
        """The hyperparameters of a model built so wide, without the learning rate."""
        return {**self.task.defaults, **self.hyperparameters, "width": width, "steps": self.steps}


TASKS = {"perceptron": PerceptronDigits, "convolution": ConvolutionDigits, "vision_transformer": TransformerDigits}

SUBJECTS = (
    Subject("perceptron", target_width=1024, steps=300, octaves=(-8, -3), classes=10),
    Subject("char_lm", target_width=256, steps=200, octaves=(-10, -6), classes=96, hyperparameters={"dropout": 0.0}),
    Subject("convolution", target_width=256, steps=160, octaves=(-6, -2), classes=10),
    Subject(
        "vision_transformer",
        target_width=256,
        steps=160,
        octaves=(-11, -6),
        classes=10,
        # Behind the noise of the others it hardly learns in so few steps: a curve without a bottom has no best rate.
        hyperparameters={"noise": 0.25},
    ),
)


def quick(subject: Subject) -> Subject:
    """The same at a size that only shows that everything runs."""
    middle = sum(subject.octaves) // 2
    return replace(
        subject, target_width=64, steps=4, octaves=(middle, middle), seeds=2, widths=(1 / 2,), must_settle=False
    )
