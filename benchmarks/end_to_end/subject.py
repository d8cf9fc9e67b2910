"""What is searched: a task of the examples at benchmark size, with the same space, steps and pruner for both arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hydro.client import choice, constant, loguniform, uniform
from hydro.client.spaces import Domain

EXAMPLES = Path(__file__).parents[2] / "examples"
SEED = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """One model's search. All steps are optimizer steps."""

    name: str
    entry_point: str
    space: Mapping[str, Domain]
    metric: str
    """What is searched by, and what the targets are compared by."""
    is_maximized: bool
    steps: int
    """Of a trial that is not pruned, and of the target's final training."""
    interval_steps: int
    """Between two validations: the pruner decides at each."""
    startup_trials: int = 5
    """No trial is pruned before so many have been trained to the end."""
    trials: int = 64
    parallelism: int = 8
    """Of Hydro's trials: few, because no trial is pruned that runs beside the first ones; Optuna runs one at a time."""
    target_seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of the repeated final trainings, the same for both arms."""


DIGITS = Subject(
    name="digits",
    entry_point="digits:Digits",
    space={
        "lr": loguniform(1e-3, 1),
        "momentum": uniform(0.5, 0.99),
        "weight_decay": loguniform(1e-6, 1e-2),
        "batch_size": constant(64),
        "channels": constant(256),
    },
    metric="accuracy",
    is_maximized=True,
    steps=400,
    interval_steps=50,
)

CHAR_LM = Subject(
    name="char_lm",
    entry_point="char_lm:CharacterLanguageModel",
    space={
        "lr": loguniform(1e-4, 1e-1),
        "beta2": choice([0.95, 0.99]),
        "warmup_fraction": uniform(0.02, 0.2),
        "weight_decay": loguniform(1e-3, 1),
        # Half of the text is trained on, once: there is nothing to regularize.
        "dropout": constant(0.0),
        "width": constant(256),
        "steps": constant(1680),
    },
    metric="validation_loss",
    is_maximized=False,
    steps=1680,
    interval_steps=210,
)

SUBJECTS = (DIGITS, CHAR_LM)


def quick(subject: Subject) -> Subject:
    """The same at a size that only shows that everything runs."""
    small = {"channels": constant(64), "width": constant(64), "steps": constant(8)}
    space = {name: small.get(name, domain) for name, domain in subject.space.items()}
    return replace(
        subject, space=space, steps=8, interval_steps=4, startup_trials=2, trials=8, parallelism=8, target_seeds=(1, 2)
    )
