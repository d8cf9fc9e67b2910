"""The lanes of a bundle: where each stands, what it has measured, stored and printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hydro.kit.artifacts import ArtifactStore, StoredArtifact
from hydro.tuner.training.lane import LaneFailure, LaneSpec
from hydro.worker.lane_log import LaneLogs
from hydro.worker.recipe import Grant, Lane
from hydro.worker.round import Keeper, LaneNews
from hydro.worker.running_bundle import RunningBundle

Metrics = Mapping[str, float]


class BundleLanes:
    """Knows all lanes of a bundle, those that train and those that wait for memory, and words what they have to say.

    A checkpoint is stored before it is reported, under a path with the lease's fencing token in it; an attempt that has
    lost its lease can neither report nor overwrite.
    """

    def __init__(self, grant: Grant, keeper: Keeper, bundle: RunningBundle, logs: LaneLogs) -> None:
        self.by_trial: dict[str, Lane] = {}
        """Each as it would begin again: at its last checkpoint."""
        self._measured: dict[str, int] = {}
        self._fencing_token = grant.fencing_token
        self._measured_steps = grant.recipe.measured_steps
        self._store = ArtifactStore(grant.recipe.artifact_uri)
        self._keeper = keeper
        self._bundle = bundle
        self._logs = logs

    def admit(self, lanes: Sequence[Lane]) -> None:
        """Notes lanes; they join before the next step."""
        self._logs.add_trials(lane.trial for lane in lanes)
        for lane in lanes:
            self.by_trial[lane.trial] = lane
            # A lane that has nothing left to train is measured once more: its first measurement stands.
            self._measured[lane.trial] = lane.start_step if lane.start_step < self._measured_steps[-1] else -1

    def drop(self, trials: Sequence[str]) -> None:
        """Ends lanes."""
        for trial in trials:
            self.by_trial.pop(trial, None)
            self._measured.pop(trial, None)
            self._logs.drop(trial)
        if trials:
            self._bundle.trainer.remove(trials)

    def waiting(self) -> list[Lane]:
        """Gives those that do not train yet."""
        inside = set(self._bundle.trials)
        return [lane for trial, lane in self.by_trial.items() if trial not in inside]

    def live_specs(self) -> list[LaneSpec]:
        """Gives those that train, as they are now."""
        trainer, lanes = self._bundle.trainer, self.by_trial
        return [
            LaneSpec(
                trial=status.trial,
                hyperparameters=lanes[status.trial].hyperparameters,
                seed=lanes[status.trial].seed,
                state=trainer.checkpoint(status.trial),
                start_step=status.step,
            )
            for status in trainer.lanes
        ]

    def due(self) -> list[str]:
        """Gives those that are to be measured before they train on."""
        return [each.trial for each in self._bundle.trainer.lanes if not self._steps_left(each.trial, each.step)]

    def steps_left(self) -> int:
        """Gives the optimizer steps to the next lane's measurement, or to its other hyperparameters."""
        return min(self._steps_left(each.trial, each.step) for each in self._bundle.trainer.lanes)

    def _steps_left(self, trial: str, step: int) -> int:
        measured = self._measured[trial]
        stops = [each for each in self._measured_steps if each > measured and each >= step][:1]
        stops += [each.step for each in self.by_trial[trial].changes if each.step > step][:1]
        return min(stops, default=step) - step

    def is_at_end(self, trial: str) -> bool:
        """Tells whether a lane's last measurement has been taken."""
        return self._measured.get(trial, 0) >= self._measured_steps[-1]

    def save(self, trial: str, step: int) -> StoredArtifact:
        """Stores a lane as it is now, after so many steps; it begins again there.

        Raises:
            LeaseLost: It is stored for another attempt by now.
        """
        self._keeper.ensure()
        number = trial.rsplit("/", 1)[1]
        path = f"trials/{number}/lease-{self._fencing_token}/step-{step}.safetensors"
        stored = self._store.write(path, self._bundle.trainer.checkpoint(trial))
        self.by_trial[trial] = replace(self.by_trial[trial], checkpoint=stored, start_step=step)
        return stored

    def saved(self, trials: Sequence[str]) -> list[LaneNews]:
        """Stores lanes that are not due to be measured."""
        steps = {each.trial: each.step for each in self._bundle.trainer.lanes}
        return [
            LaneNews(trial, steps[trial], checkpoint=self.save(trial, steps[trial]), log=self._logs.take(trial))
            for trial in trials
        ]

    def measured(self, due: Sequence[str], steps: Mapping[str, int], metrics: Mapping[str, Metrics]) -> list[LaneNews]:
        """Stores lanes with their measurements; one that is not finite is a failure."""
        news = [self._measurement(trial, steps[trial], metrics[trial]) for trial in due if trial in metrics]
        # Not before all are stored: those of a round that breaks off are measured again.
        self._measured |= {each.trial: each.steps for each in news}
        return news

    def _measurement(self, trial: str, step: int, metrics: Metrics) -> LaneNews:
        wrong = {name: value for name, value in metrics.items() if not math.isfinite(value)}
        if wrong:
            said = ", ".join(f"{name} is {value}" for name, value in wrong.items())
            return LaneNews(trial, step, failure=f"{said} after {step} steps", log=self._logs.take(trial))
        return LaneNews(trial, step, metrics, self.save(trial, step), log=self._logs.take(trial))

    def failed(self, failure: LaneFailure) -> LaneNews:
        """Words a failure; the trial's log tells where it was."""
        self._logs.add(failure.trial, failure.traceback)
        return LaneNews(failure.trial, failure.step, log=self._logs.take(failure.trial), failure=failure.reason)

    def note(self, text: str, trials: Sequence[str]) -> None:
        """Writes the first line of a text into the logs of trials."""
        first_line = text.splitlines()[0]
        for trial in trials:
            self._logs.add(trial, first_line + "\n")
