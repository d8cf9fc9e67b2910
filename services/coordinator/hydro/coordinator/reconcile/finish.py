"""Studies end when their trials have."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hydro.coordinator.bell import Bell
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.stopping import Ending, ending
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.storage.trial_values import TrialQuery
from hydro.coordinator.studies import dissolve_allocated
from hydro.coordinator.study import FAIL_STUDY, SUCCEED_STUDY, Goal, Study, StudyState
from hydro.coordinator.trial import CANCEL_TRIAL, PROMOTE_TRIAL, PRUNE_TRIAL, Trial, TrialKind, TrialState


async def finish(storage: Storage, pruners: Pruners, bell: Bell) -> None:
    """Ends each study whose trials have all been made and have ended or wait in vain for a promotion, or that is to end
    before.
    """
    for study in await storage.run(lambda tx: tx.studies.limited([StudyState.SEARCHING])):
        if await storage.run(partial(_ending, study=study)) is not None:
            async with pruners.lock(study.name):
                if await storage.run(partial(_stop, name=study.name)):
                    pruners.drop(study)
                    bell.ring()
    for study in await storage.run(lambda tx: tx.studies.exhausted([StudyState.SEARCHING])):
        async with pruners.lock(study.name):
            if await storage.run(partial(_finish, pruners=pruners, name=study.name)):
                pruners.drop(study)
                bell.ring()


async def _ending(tx: Transaction, study: Study) -> tuple[Ending, str] | None:
    minimizes = study.spec.objective.goal is Goal.MINIMIZE
    standing = await tx.studies.standing(study.name)
    return ending(study.spec.stopping, study.spec.endurance, standing, minimizes=minimizes)


async def _stop(tx: Transaction, name: StudyName) -> bool:
    """Ends the study before its trials have ended, if it is to; gives whether it did."""
    study = await tx.studies.lock(name)
    found = await _ending(tx, study)
    if study.state is not StudyState.SEARCHING or found is None:
        return False
    how, reason = found
    # Whoever decides about it in memory reads it again before anything more of it is stored.
    await tx.studies.fence(name)
    said = f"the study ended: {reason.splitlines()[0]}"
    ended = [trial for trial in await tx.trials.open(name) if trial.kind is TrialKind.SEARCH or how is Ending.FAIL]
    await tx.trials.move(name, trials_paused(ended), PRUNE_TRIAL, said)
    await tx.trials.move(name, [trial.name.number for trial in ended], CANCEL_TRIAL, said)
    await dissolve_allocated(tx, name)
    await tx.studies.move(name, SUCCEED_STUDY if how is Ending.SUCCEED else FAIL_STUDY, reason)
    return True


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
        (first,) = await tx.trials.list(study.name, TrialQuery(1, TrialKind.SEARCH))
        await tx.studies.move(study.name, FAIL_STUDY, f"every trial failed; the first one: {first.state_reason}")
    else:
        await tx.studies.move(study.name, SUCCEED_STUDY)
