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
    for study in await storage.run(lambda tx: tx.studies.in_states([StudyState.SEARCHING])):
        async with pruners.lock(study.name):
            if await storage.run(partial(_finish, pruners=pruners, name=study.name)):
                pruners.drop(study)
                bell.ring()


async def _finish(tx: Transaction, pruners: Pruners, name: StudyName) -> bool:
    """Gives whether anything changed."""
    counts = (await tx.studies.statistics(name)).trials_by_state
    is_busy = counts.get(TrialState.PENDING.value, 0) + counts.get(TrialState.RUNNING.value, 0) > 0
    study = await tx.studies.lock(name)
    if is_busy or study.state is not StudyState.SEARCHING or sum(counts.values()) < study.spec.max_trials:
        return False
    trials = await tx.trials.all(name, TrialKind.SEARCH)
    if any(trial.state in (TrialState.PENDING, TrialState.RUNNING) for trial in trials):
        return False
    last = (await pruners.of(tx, study)).last_resort()
    if last is not None and trials_paused(trials):
        await tx.trials.move(name, [last], PROMOTE_TRIAL)
        return True
    await tx.trials.move(name, trials_paused(trials), PRUNE_TRIAL, "the study ended before it was promoted")
    await _end(tx, study, trials)
    return True


def trials_paused(trials: Sequence[Trial]) -> list[int]:
    """Numbers of those that wait at a rung."""
    return [trial.name.number for trial in trials if trial.state is TrialState.PAUSED]


async def _end(tx: Transaction, study: Study, trials: Sequence[Trial]) -> None:
    failed = [trial for trial in trials if trial.state is TrialState.FAILED]
    if len(failed) == len(trials):
        reason = f"every trial failed; the first one: {failed[0].state_reason}"
        await tx.studies.move(study.name, FAIL_STUDY, reason)
    else:
        await tx.studies.move(study.name, SUCCEED_STUDY)
