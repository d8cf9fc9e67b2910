"""The pruner of each study, kept in memory between report messages and rebuilt from the stored measurements."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict

from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning.pruner import MeasuredTrial, Pruner, Standing
from hydro.coordinator.pruning.pruning_rule import build_pruner
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.study import Study
from hydro.coordinator.trial import Trial, TrialKind, TrialState

_STANDINGS = {
    TrialState.PENDING: Standing.OPEN,
    TrialState.RUNNING: Standing.OPEN,
    TrialState.PAUSED: Standing.PAUSED,
    TrialState.SUCCEEDED: Standing.SUCCEEDED,
    TrialState.PRUNED: Standing.ENDED,
    TrialState.FAILED: Standing.ENDED,
    TrialState.CANCELLED: Standing.ENDED,
}


class Pruners:
    """A cache. Whoever uses a study's pruner holds the study's `lock`, and drops it when a commit fails."""

    def __init__(self) -> None:
        self._pruners: dict[str, Pruner] = {}
        self._locks: defaultdict[StudyName, asyncio.Lock] = defaultdict(asyncio.Lock)

    def lock(self, study: StudyName) -> asyncio.Lock:
        """Held by who decides for the study."""
        return self._locks[study]

    async def of(self, transaction: Transaction, study: Study) -> Pruner:
        """The study's pruner, with everything that is stored."""
        if study.uid not in self._pruners:
            trials = await transaction.trials.all(study.name, TrialKind.SEARCH)
            history = [_measured(trial, study.spec.objective.metric) for trial in trials]
            spec = study.spec
            self._pruners[study.uid] = build_pruner(spec.pruning, spec.objective.goal, spec.max_steps, history)
        return self._pruners[study.uid]

    def drop(self, study: Study) -> None:
        """Forgets the pruner: what it knows may not be what is stored."""
        self._pruners.pop(study.uid, None)


def standing_of(state: TrialState) -> Standing:
    """Where a trial in the state stands for its pruner."""
    return _STANDINGS[state]


def _measured(trial: Trial, metric: str) -> MeasuredTrial:
    finite = [each for each in trial.measurements if math.isfinite(each.metrics.get(metric, math.nan))]
    return MeasuredTrial(
        trial.name.number,
        standing_of(trial.state),
        tuple((each.step, each.metrics[metric]) for each in finite),
        tuple(each.elapsed_seconds or 0.0 for each in finite),
    )
