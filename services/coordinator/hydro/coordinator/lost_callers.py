"""Driven trials whose callers are lost are given to others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog

from hydro.coordinator.bell import Bell
from hydro.coordinator.hot.callers import Callers, Run
from hydro.coordinator.hot.hot_studies import HotStudies
from hydro.coordinator.names import StudyName
from hydro.coordinator.reconcile.loop import run_step
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.storage.trial_values import NewRetry
from hydro.coordinator.trial import FAIL_TRIAL, RETURN_TRIAL, Trial, TrialKind, TrialState
from hydro.kit.clock import Clock

_log = structlog.get_logger()
PAUSE_SECONDS = 1.0


class LostCallers:
    """Looks after the studies with a trial timeout that this coordinator owns, or whose owner is dead.

    Who was heard is in memory alone: after a restart, or under another owner, each caller has its whole time again.
    """

    def __init__(self, storage: Storage, hot: HotStudies, callers: Callers, bell: Bell, clock: Clock) -> None:
        self._storage = storage
        self._hot = hot
        self._callers = callers
        self._bell = bell
        self._clock = clock

    async def keep(self) -> None:
        """Gives up lost callers, for ever."""
        while True:
            await run_step("callers", self.step)
            await self._clock.sleep(PAUSE_SECONDS)

    async def step(self) -> None:
        """Gives up those of whom nothing was heard for too long."""
        running: dict[StudyName, list[Run]] = {}
        timeouts: dict[StudyName, float] = {}
        for each in await self._storage.run(lambda tx: tx.studies.timed(self._hot.owner)):
            running.setdefault(each.study, []).append(Run(each.number, each.lost_runs))
            timeouts[each.study] = each.timeout_seconds
        self._callers.follow(running)
        for study, seconds in timeouts.items():
            if self._callers.silent(study, seconds):
                await run_step("callers", partial(self._give_up, study))

    async def _give_up(self, name: StudyName) -> None:
        # The study is read again afterwards, as it is then.
        async with self._hot.exclusive(name):
            await self._storage.run(partial(self._return, name=name))
        self._bell.ring()

    async def _return(self, tx: Transaction, name: StudyName) -> None:
        study = await tx.studies.own(name, self._hot.owner)
        endurance = study.spec.endurance
        running = _runs(await tx.trials.open(name))
        reason = f"its caller was lost: nothing was heard of it for {endurance.trial_timeout_seconds:g} s"
        for run in self._callers.silent(name, endurance.trial_timeout_seconds):
            if run not in running:
                continue
            failures = run.lost_runs + 1
            await tx.trials.note_retry(name, run.number, NewRetry(reason, 0, 1), failures=failures, lane_limit=0)
            if failures > endurance.max_retries:
                said = f"{reason}; that was loss {failures}, and max_retries is {endurance.max_retries}"
                await tx.trials.move(name, [run.number], FAIL_TRIAL, said)
            else:
                await tx.trials.move(name, [run.number], RETURN_TRIAL)
            _log.warning("caller lost", trial=str(name.trial(run.number)), losses=failures)


def _runs(trials: Sequence[Trial]) -> list[Run]:
    return [
        Run(trial.name.number, trial.failures)
        for trial in trials
        if trial.kind is TrialKind.SEARCH and trial.state is TrialState.RUNNING
    ]
