"""Studies end when their trials have."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hydro.coordinator.bell import Bell
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.study import FAIL_STUDY, SUCCEED_STUDY, Study, StudyState
from hydro.coordinator.trial import PROMOTE_TRIAL, PRUNE_TRIAL, Trial, TrialKind, TrialState


async def finish(storage: Storage, pruners: Pruners, bell: Bell) -> None:
    """Ends each study whose trials have all been made and have ended or wait in vain for a promotion."""
    for study in await storage.run(lambda tx: tx.studies.exhausted([StudyState.SEARCHING])):
        async with pruners.lock(study.name):
            if await storage.run(partial(_finish, pruners=pruners, name=study.name)):
                pruners.drop(study)
                bell.ring()


async def _finish(tx: Transaction, pruners: Pruners, name: StudyName) -> bool:
    """Gives whether anything changed."""
    study = await tx.studies.lock(name)
    if study.state is not StudyState.SEARCHING:
        return False
    unfinished = [trial for trial in await tx.trials.open(name) if trial.kind is TrialKind.SEARCH]
    paused = trials_paused(unfinished)
    if len(paused) < len(unfinished):
        return False
    last = (await pruners.of(tx, study)).last_resort() if paused else None
    if last is not None:
        await tx.trials.move(name, [last], PROMOTE_TRIAL)
        return True
    await tx.trials.move(name, paused, PRUNE_TRIAL, "the study ended before it was promoted")
    await _end(tx, study)
    return True


def trials_paused(trials: Sequence[Trial]) -> list[int]:
    """Numbers of those that wait at a rung."""
    return [trial.name.number for trial in trials if trial.state is TrialState.PAUSED]


async def _end(tx: Transaction, study: Study) -> None:
    counts = (await tx.studies.statistics(study.name)).trials_by_state
    if set(counts) == {TrialState.FAILED.value}:
        (first,) = await tx.trials.list(study.name, -1, 1, TrialKind.SEARCH)
        await tx.studies.move(study.name, FAIL_STUDY, f"every trial failed; the first one: {first.state_reason}")
    else:
        await tx.studies.move(study.name, SUCCEED_STUDY)
