"""What is compared: a sampler on a subject, with so many trials at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SEEDS = 30
PARALLELISM = (1, 8)
TRIALS = {"random": 60, "tpe": 60, "gp": 24}
SUBJECTS = {
    "random": ("branin", "ackley 5", "rosenbrock 4", "sphere 8", "hartmann 6", "digits table"),
    "tpe": ("branin", "ackley 5", "rosenbrock 4", "sphere 8", "hartmann 6", "digits table"),
    "gp": ("branin", "hartmann 6", "digits table"),
}
SAMPLERS = tuple(SUBJECTS)


@dataclass(frozen=True, slots=True)
class Cell:
    """One of them, with its budget."""

    sampler: str
    parallelism: int
    subject: str
    trials: int


def cells() -> Iterator[Cell]:
    """All of the full run."""
    for sampler in SAMPLERS:
        for parallelism in PARALLELISM:
            for subject in SUBJECTS[sampler]:
                yield Cell(sampler, parallelism, subject, TRIALS[sampler])


def quick_cells() -> Iterator[Cell]:
    """Every sampler and parallelism once, with few trials."""
    for sampler in SAMPLERS:
        for parallelism in PARALLELISM:
            yield Cell(sampler, parallelism, "digits table" if parallelism == 1 else "branin", 12)
