"""Trials of the target: full width, one lane, transferred hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hydro.coordinator.bell import Bell
from hydro.coordinator.names import StudyName, TrialName
from hydro.coordinator.search_space import SearchSpace, validate_hyperparameters
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.storage.trial_values import NewTrial
from hydro.coordinator.study import Study, StudyState
from hydro.coordinator.surrogate import Surrogate
from hydro.coordinator.trial import HyperparameterChange, Hyperparameters, Trial, TrialKind
from hydro.coordinator.tuner import Tuner
from hydro.kit.errors import FailedPrecondition, FieldViolation, InvalidArgument

_METHOD = "TrainTarget"
_STATES = (StudyState.SEARCHING, StudyState.PAUSED, StudyState.SUCCEEDED)


class Targets:
    """Creates trials of kind TARGET."""

    def __init__(self, storage: Storage, tuner: Tuner, bell: Bell) -> None:
        self._storage = storage
        self._tuner = tuner
        self._bell = bell

    async def train(
        self,
        name: StudyName,
        hyperparameters: Hyperparameters,
        target_hyperparameters: Hyperparameters,
        defaults: bool,
        seed: int | None,
        request_id: str,
        batch_ratio: float = 1.0,
    ) -> Trial:
        """Creates a trial with these hyperparameters, transferred; empty: the best trial's.

        Args:
            name: the study.
            hyperparameters: as in the search space, before transfer.
            target_hyperparameters: more of them, or other values, for the target as they are.
            defaults: the task's own, and nothing to transfer; excludes hyperparameters.
            seed: None: the study's.
            request_id: the same one again gives the same trial.
            batch_ratio: samples of a step of the target over the surrogate's; excludes defaults.

        Raises:
            InvalidArgument: hyperparameters that the study does not have.
            FailedPrecondition: WRONG_STATE, when there is nothing to transfer, or the study cannot train a target.
        """
        answered = await self._storage.run(lambda tx: _answered(tx, request_id))
        if answered is not None:
            return answered
        study, surrogate = await self._storage.run(lambda tx: _ready(tx, name))
        if defaults and hyperparameters:
            raise InvalidArgument.of([FieldViolation("defaults", "excludes hyperparameters: give one of them")])
        if defaults and batch_ratio != 1:
            raise InvalidArgument.of([FieldViolation("defaults", "excludes batch_ratio: give one of them")])
        if seed is not None and seed < 0:
            raise InvalidArgument.of([FieldViolation("seed", f"is {seed}: give 0 or more")])
        schedule: Sequence[HyperparameterChange] = ()
        if not defaults:
            given = [HyperparameterChange(0, hyperparameters, 0)]
            schedule = given if hyperparameters else await self._storage.run(lambda tx: _best(tx, study))
        replayed = []
        for change in schedule:
            _check(study, change.hyperparameters)
            transferred = await self._tuner.transfer(
                surrogate, study.spec.search_space, change.hyperparameters, batch_ratio
            )
            replayed.append(replace(change, hyperparameters={**transferred, **target_hyperparameters}))
        _check_of_target(study, target_hyperparameters)
        new = NewTrial(
            replayed[-1].hyperparameters if replayed else target_hyperparameters,
            study.spec.seed if seed is None else seed,
            TrialKind.TARGET,
            schedule=tuple(replayed) if len(replayed) > 1 else (),
        )
        trial = await self._storage.run(lambda tx: _stored(tx, name, new, request_id))
        self._bell.ring()
        return trial


async def _answered(tx: Transaction, request_id: str) -> Trial | None:
    answer = await tx.requests.answer(_METHOD, request_id)
    return None if answer is None else await tx.trials.get(TrialName.parse(answer[0]))


async def _ready(tx: Transaction, name: StudyName) -> tuple[Study, Surrogate]:
    study = await tx.studies.get(name)
    surrogate = await tx.surrogates.of_study(name)
    if study.spec.task is None:
        why = "its trials are runs of a command" if study.spec.command else "its caller trains its trials"
        raise FailedPrecondition(f"{name} has no task, so there is no target to train: {why}")
    if study.state not in _STATES or surrogate is None:
        raise FailedPrecondition(f"{name} is {study.state.name}: a target is trained while it searches or after")
    return study, surrogate


async def _best(tx: Transaction, study: Study) -> Sequence[HyperparameterChange]:
    if study.best_trial is None:
        raise FailedPrecondition(
            f"{study.name} has no best trial yet: wait until a trial was trained to the end, or give hyperparameters"
        )
    return (await tx.trials.get(study.best_trial)).lineage


def _check(study: Study, hyperparameters: Hyperparameters) -> None:
    # A best trial lacks what does not transfer.
    space = study.spec.search_space
    missing = {each.name for each in space.parameters if each.not_transferable} - set(hyperparameters)
    violations = validate_hyperparameters(space.without(missing), hyperparameters)
    if violations:
        raise InvalidArgument.of(violations)


def _check_of_target(study: Study, hyperparameters: Hyperparameters) -> None:
    # Whatever of the space is named, since what the surrogate was not searched for may depend on anything.
    named = tuple(
        replace(each, conditions=()) for each in study.spec.search_space.parameters if each.name in hyperparameters
    )
    violations = validate_hyperparameters(SearchSpace(named), hyperparameters, "target_hyperparameters")
    if violations:
        raise InvalidArgument.of(violations)


async def _stored(tx: Transaction, name: StudyName, new: NewTrial, request_id: str) -> Trial:
    study = await tx.studies.lock(name)
    # Only now: the same request may have been sent twice at once.
    answered = await _answered(tx, request_id)
    if answered is not None:
        return answered
    if study.state not in _STATES:
        raise FailedPrecondition(f"{name} is {study.state.name}: a target is trained while it searches or after")
    (trial,) = await tx.trials.insert(name, [new])
    await tx.requests.remember(_METHOD, request_id, [str(trial.name)])
    return trial
