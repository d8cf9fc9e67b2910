"""What may be wrong with a population."""

from __future__ import annotations

from collections.abc import Iterator

from hydro.coordinator.pruning.validation import validate_pruning
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.study import StudySpec
from hydro.kit.errors import FieldViolation

LEAST_MEMBERS = 2


def validate_population(spec: StudySpec, field: str = "study.population") -> Iterator[FieldViolation]:
    """Everything that is wrong with a study's population. Empty: nothing, or there is none."""
    population = spec.population
    if population is None:
        return
    if spec.task is None:
        yield FieldViolation(field, "needs a task: give study.task, whose trials train in the lanes of bundles")
    for violation in validate_pruning(NoPruning(population.interval_steps), spec.max_steps):
        said = violation.description
        yield FieldViolation(f"{field}.interval_steps", said)
    if population.interval_steps == 0:
        yield FieldViolation(f"{field}.interval_steps", "is 0: give the steps between two rounds, 1 or more")
    if not 0 < population.quantile <= 0.5:
        yield FieldViolation(f"{field}.quantile", f"is {population.quantile}: give more than 0, and 0.5 or less")
    if not 0 <= population.resample_probability <= 1:
        said = f"is {population.resample_probability}: give 0 to 1"
        yield FieldViolation(f"{field}.resample_probability", said)
    if not 0 < population.perturbation < 1:
        said = f"is {population.perturbation}: give more than 0 and less than 1, 0.2 is usual"
        yield FieldViolation(f"{field}.perturbation", said)
    yield from _study_violations(spec)


def _study_violations(spec: StudySpec) -> Iterator[FieldViolation]:
    if spec.pruning != NoPruning():
        yield FieldViolation("study.pruner", "is set beside a population, which prunes nothing: leave it out")
    if spec.further_objectives:
        yield FieldViolation("study.further_objectives", "a population is ranked by one objective: leave them out")
    if spec.max_trials < LEAST_MEMBERS:
        yield FieldViolation("study.max_trials", f"is {spec.max_trials}: a population has 2 members or more")
    if spec.parallelism < spec.max_trials:
        said = f"is {spec.parallelism}: give max_trials ({spec.max_trials}) or more, a population trains together"
        yield FieldViolation("study.parallelism", said)
