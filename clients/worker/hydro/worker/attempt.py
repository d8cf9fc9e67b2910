"""One lease: a bundle from its recipe to its last lane."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout

from hydro.kit.errors import HydroError
from hydro.squeezer.gate import Interrupted
from hydro.tuner.fusion.lower import NotFusible
from hydro.tuner.tracing import NotTraceable
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.lane import CurrentTrial, LaneSpec
from hydro.tuner.training.out_of_memory import is_out_of_memory
from hydro.worker.bundle import BundleBuilder
from hydro.worker.bundle_lanes import BundleLanes
from hydro.worker.bundle_memory import BundleMemory
from hydro.worker.device import Workplace
from hydro.worker.lane_log import LaneLogs
from hydro.worker.recipe import Grant, Lane
from hydro.worker.round import Keeper, LaneNews, Reports, Verdict
from hydro.worker.running_bundle import RunningBundle
from hydro.worker.succession import Succession


class Attempt:
    """Trains the lanes of a lease from one measured step to the next, and does what the verdicts say."""

    def __init__(
        self,
        grant: Grant,
        keeper: Keeper,
        reporter: Reports,
        workplace: Workplace,
        builder: BundleBuilder,
        is_stopping: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = grant.name
        self._recipe = grant.recipe
        self._keeper = keeper
        self._reporter = reporter
        self._is_stopping = is_stopping
        self._monotonic = monotonic
        self._checkpointed_at = monotonic()
        current = CurrentTrial()
        self._logs = LaneLogs(current)
        self._bundle = RunningBundle(builder, workplace, grant.recipe.execution, current)
        self._lanes = BundleLanes(grant, keeper, self._bundle, self._logs)
        self._memory = BundleMemory(grant, workplace, self._bundle, self._lanes, self._tell, monotonic)
        self._succession = Succession(self._lanes, workplace)

    def run(self) -> None:
        """Trains until no lanes are left, or the coordinator or this process wants to stop.

        Raises:
            LeaseLost: Everything that was not acknowledged is void.
            GateLost: The slot has gone; the last acknowledged checkpoints hold.
            Exception: The bundle cannot be trained: whatever the task raised for all lanes.
        """
        with redirect_stdout(self._logs):
            self._bundle.load()
            self._lanes.admit(self._recipe.lanes)
            try:
                self._train()
            except Interrupted:
                # In the middle of a step; lanes that are not whole go on from their last checkpoints.
                if self._bundle.trainer.undoes_steps:
                    self._save_all()

    def _train(self) -> None:
        while self._has_lanes():
            if self._is_wanted_elsewhere() or not self._memory.most:
                self._save_all()
                return
            self._advance_within_memory()

    def _is_wanted_elsewhere(self) -> bool:
        return self._keeper.release_requested or self._is_stopping()

    def _has_lanes(self) -> bool:
        """Lets in lanes that wait, as many as memory holds; says whether any train."""
        while (waiting := self._lanes.waiting()) and (room := self._memory.most - len(self._bundle.trials)) > 0:
            self._let_in(waiting[:room])
        return bool(self._bundle.trials)

    def _let_in(self, lanes: Sequence[Lane]) -> None:
        specs = self._read(lanes)
        wanted = len(self._bundle.trials) + len(specs)
        try:
            self._insert(specs)
        except (RuntimeError, MemoryError) as error:
            is_smallest = wanted == 1 and self._bundle.execution is Execution.SEPARATE
            if is_smallest or not is_out_of_memory(error):
                raise
        else:
            self._lanes.note(f"{self._name}: {self._bundle.trainer.report}", [spec.trial for spec in specs])
            self._memory.note_misses()
            self._report_failures()
            return
        # Outside the handler: the error held the frames, and they the tensors.
        self._memory.hold_fewer_than(wanted)

    def _read(self, lanes: Sequence[Lane]) -> list[LaneSpec]:
        """Reads the lanes' checkpoints; those that cannot be read fail."""
        specs = []
        for lane in lanes:
            try:
                specs.append(lane.spec())
            except HydroError as error:
                self._tell([LaneNews(lane.trial, lane.start_step, failure=str(error))])
        return specs

    def _insert(self, specs: Sequence[LaneSpec]) -> None:
        try:
            self._bundle.insert(specs)
        except (NotFusible, NotTraceable) as error:
            self._bundle.separate([*self._lanes.live_specs(), *specs], str(error))

    def _advance_within_memory(self) -> None:
        try:
            self._advance()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error)
        else:
            self._memory.note_misses()
            return
        # Outside the handler: the error held the frames, and they the activations.
        self._memory.begin_smaller(reason)

    def _advance(self) -> None:
        """To the next measurement, checkpoint or failure."""
        if due := self._lanes.due():
            self._measure(due)
            return
        if self._succession.change(self._bundle.trainer):
            self._report_failures()
            return
        for _ in range(self._lanes.steps_left()):
            if self._memory.refit():
                return
            self._bundle.trainer.train_step()
            if self._report_failures() or self._is_wanted_elsewhere():
                return
            if self._monotonic() - self._checkpointed_at >= self._recipe.checkpoint_interval_seconds > 0:
                self._save_all()
                return

    def _measure(self, due: Sequence[str]) -> None:
        steps = {status.trial: status.step for status in self._bundle.trainer.lanes}
        metrics = self._bundle.trainer.validate(due)
        self._report_failures()
        news = self._lanes.measured(due, steps, metrics)
        self._memory.watch()
        self._tell(news)

    def _save_all(self) -> None:
        """Stores and reports every lane as it is, but those that are due to be measured.

        A lane that begins at a measured step counts as measured there; these go on from their checkpoint before it.
        """
        due = self._lanes.due()
        news = self._lanes.saved([trial for trial in self._bundle.trials if trial not in due])
        self._memory.watch()
        self._tell(news)
        self._checkpointed_at = self._monotonic()

    def _report_failures(self) -> bool:
        """Tells of lanes that have failed; says whether there were any."""
        failures = self._bundle.trainer.take_failures()
        if failures:
            self._tell([self._lanes.failed(failure) for failure in failures])
        return bool(failures)

    def _tell(self, news: Sequence[LaneNews]) -> None:
        """One round; then what the answer says is done."""
        failed = [each.trial for each in news if each.failure]
        free = max(0, self._memory.most - len(self._lanes.by_trial.keys() - set(failed)))
        fusion_count = self._bundle.trainer.fusion_count
        answer = self._reporter.report(news, free, fusion_count, self._memory.take_untold())
        self._lanes.drop(failed + [trial for trial, verdict in answer.verdicts.items() if self._ends(trial, verdict)])
        if answer.clones:
            self._succession.replace(self._bundle.trainer, answer.clones)
            self._report_failures()
        self._lanes.admit(answer.insertions)

    def _ends(self, trial: str, verdict: Verdict) -> bool:
        return verdict is not Verdict.CONTINUE or self._lanes.is_at_end(trial)
