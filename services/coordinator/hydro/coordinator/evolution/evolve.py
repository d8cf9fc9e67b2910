"""A round of population-based training, in the transaction that stores its measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydro.coordinator.asking import searched_space
from hydro.coordinator.evolution.exploitation import Member, exploits
from hydro.coordinator.names import StudyName, TrialName
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.study import Study
from hydro.coordinator.surrogate import Surrogate
from hydro.coordinator.trial import HyperparameterChange, Trial, TrialKind


@dataclass(frozen=True, slots=True)
class Clone:
    """A trial as it goes on: with its parent's checkpoint, and hyperparameters of its own."""

    trial: Trial
    parent: TrialName


async def evolve(tx: Transaction, study: Study, measured: Sequence[tuple[TrialName, int]]) -> None:
    """Has members that were measured at these steps, now and for the first time, go on from better ones.

    They are compared with every member that stands at their step: its checkpoint is what is copied, so a clone is
    stored with the measurements that caused it, and nothing of it is lost with a worker or a coordinator.
    """
    population, spec = study.spec.population, study.spec
    if population is None:
        return
    trials = {each.name.number: each for each in await tx.trials.open(study.name) if each.kind is TrialKind.SEARCH}
    space = searched_space(spec.search_space, await tx.surrogates.of_study(study.name))
    for step in sorted({step for _, step in measured if step < spec.max_steps}):
        members = {
            number: Member(trial.value, trial.hyperparameters)
            for number, trial in trials.items()
            if trial.value is not None and trial.steps == trial.checkpoint_steps == step and trial.checkpoint
        }
        judged = {trial.number for trial, at in measured if at == step} & members.keys()
        for each in exploits(population, space, spec.objective.goal, spec.seed, step, members, judged):
            parent, own = trials[each.parent], trials[each.trial]
            change = HyperparameterChange(step, each.hyperparameters, each.trial, each.parent)
            await tx.trials.inherit(own.name, parent.checkpoint, (*parent.lineage, change), (*own.own_changes, change))


async def clones(tx: Transaction, study: StudyName, measured: Sequence[tuple[TrialName, int]]) -> tuple[Clone, ...]:
    """The trials among those measured at these steps that went on from another one there, as they are stored."""
    steps = dict(measured)
    found = []
    for trial in await tx.trials.open(study):
        last = trial.changes[-1] if trial.changes else None
        if last is not None and last.parent is not None and steps.get(trial.name) == last.step:
            found.append(Clone(trial, study.trial(last.parent)))
    return tuple(found)


def unfit(study: Study, surrogate: Surrogate) -> str:
    """Why the study's members cannot take each other's weights. Empty: they can."""
    if study.spec.population is None:
        return ""
    searched = searched_space(study.spec.search_space, surrogate).searched_names
    structural = sorted(searched - surrogate.lane_hyperparameters)
    if not structural:
        return ""
    names = ", ".join(map(repr, structural))
    return (
        f"population-based training copies weights between trials, but {names} may change the structure of the graph: "
        "make it a constant, or search it without a population"
    )
