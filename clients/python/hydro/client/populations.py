"""Population-based training (Jaderberg et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Population:
    """Trials that train together, and of which the worst go on from the best."""

    interval_steps: int
    max_steps: int
    quantile: float
    resample_probability: float
    perturbation: float


def population(
    interval_steps: int,
    max_steps: int,
    *,
    quantile: float = 0.25,
    resample_probability: float = 0.25,
    perturbation: float = 0.2,
) -> Population:
    """Every trial is a member of a population, trained for max_steps in the lanes of a bundle.

    Every interval_steps the bottom quantile goes on from weights and optimizer states of the top quantile, with
    hyperparameters near the ones that those had.

    Args:
        interval_steps: Optimizer steps between two rounds.
        max_steps: Optimizer steps of a trial.
        quantile: The share of the population that is replaced at each round, in (0, 0.5].
        resample_probability: With this probability a hyperparameter is drawn anew, in [0, 1].
        perturbation: Otherwise a number is multiplied by 1 + or 1 - this, in (0, 1). Choices stay as they are.
    """
    return Population(interval_steps, max_steps, quantile, resample_probability, perturbation)
