"""A study as its callers see it: with its counts, and with the best of its trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hydro.coordinator.objectives import front
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.study import Study


async def overview(tx: Transaction, study: Study) -> Study:
    """The study with its statistics and its best trials."""
    best: Sequence[int] = () if study.best_trial is None else (study.best_trial.number,)
    if study.spec.further_objectives:
        best = front(study.spec.goals, await tx.trials.results(study.name))
    return replace(
        study,
        statistics=await tx.studies.statistics(study.name),
        best_trials=tuple(study.name.trial(number) for number in best),
    )
