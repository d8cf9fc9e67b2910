"""One lease: a bundle from its recipe to its last lane."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace

import structlog

from hydro.kit.artifacts import ArtifactStore, StoredArtifact
from hydro.kit.errors import HydroError
from hydro.tuner.fusion.lower import NotFusible
from hydro.tuner.tracing import NotTraceable
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.lane import CurrentTrial, LaneFailure, LaneSpec, MemoryMiss
from hydro.tuner.training.out_of_memory import is_out_of_memory
from hydro.tuner.training.trainer import BundleTrainer
from hydro.worker.bundle import BundleBuilder
from hydro.worker.device import Workplace
from hydro.worker.lane_log import LaneLogs
from hydro.worker.lease import LeaseKeeper
from hydro.worker.recipe import Grant, Lane
from hydro.worker.reporter import Reporter
from hydro.worker.round import LaneNews, Verdict


class Attempt:
    """Trains the lanes of a lease from one measured step to the next, and does what the verdicts say.

    A checkpoint is stored before it is reported, under a path with the lease's fencing token in it; an attempt that has
    lost its lease can neither report nor overwrite.
    """

    def __init__(
        self,
        grant: Grant,
        keeper: LeaseKeeper,
        reporter: Reporter,
        workplace: Workplace,
        builder: BundleBuilder,
        is_stopping: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grant = grant
        self._recipe = grant.recipe
        self._keeper = keeper
        self._reporter = reporter
        self._workplace = workplace
        self._builder = builder
        self._is_stopping = is_stopping
        self._monotonic = monotonic
        self._store = ArtifactStore(grant.recipe.artifact_uri)
        self._lanes: dict[str, Lane] = {}
        self._measured: dict[str, int] = {}
        self._current = CurrentTrial()
        self._logs = LaneLogs(self._current)
        self._trainer: BundleTrainer | None = None
        self._arrived: list[Lane] = []
        self._checkpointed_at = monotonic()

    def run(self) -> None:
        """Trains until no lanes are left, or the coordinator or this process wants to stop.

        Raises:
            LeaseLost: Everything that was not acknowledged is void.
            GateLost: The slot has gone; the last acknowledged checkpoints hold.
            Exception: The bundle cannot be trained: whatever the task raised for all lanes.
        """
        with redirect_stdout(self._logs):
            self._build()
            while self._running.lanes:
                if self._keeper.release_requested or self._is_stopping():
                    self._save_all()
                    return
                self._advance_within_memory()

    @property
    def _running(self) -> BundleTrainer:
        if self._trainer is None:
            raise RuntimeError("the bundle has not been built")
        return self._trainer

    def _build(self) -> None:
        recipe = self._recipe
        self._logs.add_trials(lane.trial for lane in recipe.lanes)
        task = self._workplace.aside(self._builder.load)
        specs = self._admit(recipe.lanes)
        self._rebuild: Callable[[Sequence[LaneSpec], Execution], BundleTrainer] = lambda lanes, execution: (
            self._workplace.aside(lambda: self._builder.trainer(task, lanes, execution, self._current))
        )
        self._execution = recipe.execution
        self._trainer = self._rebuild(specs, self._execution)
        self._note(f"{self._grant.name}: {self._trainer.report}", [spec.trial for spec in specs])
        self._checkpointed_at = self._monotonic()
        self._report_failures()
        arrived, self._arrived = self._arrived, []
        if arrived:
            self._insert(arrived)

    def _admit(self, lanes: Sequence[Lane]) -> list[LaneSpec]:
        """Notes lanes and reads their checkpoints; those that cannot be read fail."""
        specs = []
        for lane in lanes:
            try:
                spec = lane.spec()
            except HydroError as error:
                self._tell([LaneNews(lane.trial, lane.start_step, failure=str(error))])
                continue
            self._lanes[lane.trial] = lane
            last = self._recipe.measured_steps[-1]
            # A lane that has nothing left to train is measured once more: its first measurement stands.
            self._measured[lane.trial] = lane.start_step if lane.start_step < last else -1
            specs.append(spec)
        return specs

    def _advance_within_memory(self) -> None:
        misses = len(self._running.misses)
        try:
            self._advance()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or self._execution is Execution.SEPARATE:
                raise
            too_many = MemoryMiss(self._running.fusion_count, 0)
        else:
            self._note_misses(self._running.misses[misses:])
            return
        # Outside the handler: the error held the frames, and they the activations.
        self._begin_smaller(too_many)

    def _note_misses(self, misses: Sequence[MemoryMiss]) -> None:
        if misses:
            self._builder.learn(misses)
            self._note(self._running.report, [status.trial for status in self._running.lanes])

    def _begin_smaller(self, too_many: MemoryMiss) -> None:
        """Goes back to the lanes' last checkpoints, which the coordinator knows, with fewer lanes at once."""
        self._trainer = None
        self._builder.learn([too_many])
        self._execution = Execution.FUSED if too_many.lanes > 1 else Execution.SEPARATE
        structlog.get_logger().warning(
            "out of memory: lanes begin again from their checkpoints",
            lanes=too_many.lanes,
            execution=self._execution.value,
        )
        self._trainer = self._rebuild([lane.spec() for lane in self._lanes.values()], self._execution)
        self._note(self._trainer.report, list(self._lanes))
        self._report_failures()

    def _advance(self) -> None:
        """To the next measurement, checkpoint or failure."""
        due = [status.trial for status in self._running.lanes if self._steps_left(status.trial, status.step) == 0]
        if due:
            self._measure(due)
            return
        steps = min(self._steps_left(status.trial, status.step) for status in self._running.lanes)
        for _ in range(steps):
            self._running.train_step()
            if self._report_failures() or self._keeper.release_requested or self._is_stopping():
                return
            if self._monotonic() - self._checkpointed_at >= self._recipe.checkpoint_interval_seconds > 0:
                self._save_all()

    def _steps_left(self, trial: str, step: int) -> int:
        """Optimizer steps to the lane's next measurement."""
        measured = self._measured[trial]
        following = (each for each in self._recipe.measured_steps if each > measured and each >= step)
        return next(following, step) - step

    def _measure(self, due: Sequence[str]) -> None:
        steps = {status.trial: status.step for status in self._running.lanes}
        metrics = self._running.validate(due)
        self._report_failures()
        news = [self._measurement(trial, steps[trial], metrics[trial]) for trial in due if trial in metrics]
        for each in news:
            self._measured[each.trial] = each.steps
        self._tell(news)

    def _measurement(self, trial: str, step: int, metrics: dict[str, float]) -> LaneNews:
        wrong = {name: value for name, value in metrics.items() if not math.isfinite(value)}
        if wrong:
            said = ", ".join(f"{name} is {value}" for name, value in wrong.items())
            return LaneNews(trial, step, failure=f"{said} after {step} steps", log=self._logs.take(trial))
        return LaneNews(trial, step, metrics, self._save(trial, step), log=self._logs.take(trial))

    def _save(self, trial: str, step: int) -> StoredArtifact:
        self._keeper.ensure()
        number = trial.rsplit("/", 1)[1]
        path = f"trials/{number}/lease-{self._grant.fencing_token}/step-{step}.safetensors"
        stored = self._store.write(path, self._running.checkpoint(trial))
        self._lanes[trial] = replace(self._lanes[trial], checkpoint=stored, start_step=step)
        return stored

    def _save_all(self) -> None:
        """Stores and reports every lane as it is."""
        news = [
            LaneNews(
                status.trial,
                status.step,
                checkpoint=self._save(status.trial, status.step),
                log=self._logs.take(status.trial),
            )
            for status in self._running.lanes
        ]
        self._tell(news)
        self._checkpointed_at = self._monotonic()

    def _report_failures(self) -> bool:
        """Tells of lanes that have failed; says whether there were any."""
        failures = self._running.take_failures()
        if failures:
            self._tell([self._failure(failure) for failure in failures])
        return bool(failures)

    def _failure(self, failure: LaneFailure) -> LaneNews:
        self._logs.add(failure.trial, failure.traceback)
        return LaneNews(failure.trial, failure.step, log=self._logs.take(failure.trial), failure=failure.reason)

    def _tell(self, news: Sequence[LaneNews]) -> None:
        """One round; then what the answer says is done."""
        trainer = self._trainer
        free, fusion_count = 0, 1
        if trainer is not None:
            free, fusion_count = max(0, self._recipe.max_lanes - len(trainer.lanes)), trainer.fusion_count
        failed = [each.trial for each in news if each.failure]
        answer = self._reporter.report(news, free, fusion_count)
        self._drop(failed + [trial for trial, verdict in answer.verdicts.items() if self._ends(trial, verdict)])
        self._arrived += answer.insertions
        if self._arrived and self._trainer is not None:
            arrived, self._arrived = self._arrived, []
            self._insert(arrived)

    def _ends(self, trial: str, verdict: Verdict) -> bool:
        return verdict is not Verdict.CONTINUE or self._measured.get(trial, 0) >= self._recipe.measured_steps[-1]

    def _drop(self, trials: Sequence[str]) -> None:
        for trial in trials:
            self._lanes.pop(trial, None)
            self._measured.pop(trial, None)
            self._logs.drop(trial)
        if trials and self._trainer is not None:
            self._trainer.remove(trials)

    def _insert(self, lanes: Sequence[Lane]) -> None:
        self._logs.add_trials(lane.trial for lane in lanes)
        specs = self._admit(lanes)
        try:
            self._workplace.aside(lambda: self._running.insert(specs))
        except (NotFusible, NotTraceable) as error:
            self._separate(specs, str(error))
        self._note(f"joins {self._grant.name}: {self._running.report}", [spec.trial for spec in specs])
        self._report_failures()

    def _separate(self, new: Sequence[LaneSpec], reason: str) -> None:
        """Goes on with separate models: what came in cannot run in one program with the lanes there are."""
        structlog.get_logger().warning("bundle goes on as separate models", reason=reason)
        current = [
            LaneSpec(
                status.trial,
                self._lanes[status.trial].hyperparameters,
                self._lanes[status.trial].seed,
                self._running.checkpoint(status.trial),
                status.step,
            )
            for status in self._running.lanes
        ]
        self._execution = Execution.SEPARATE
        self._trainer = self._rebuild([*current, *new], self._execution)

    def _note(self, text: str, trials: Sequence[str]) -> None:
        first_line = text.splitlines()[0]
        for trial in trials:
            self._logs.add(trial, first_line + "\n")
