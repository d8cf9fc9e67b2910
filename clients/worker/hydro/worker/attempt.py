"""One lease: a bundle from its recipe to its last lane."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from functools import partial

import structlog

from hydro.kit.artifacts import ArtifactStore, StoredArtifact
from hydro.kit.errors import HydroError
from hydro.squeezer.gate import Interrupted
from hydro.tuner.fusion.lower import NotFusible
from hydro.tuner.tracing import NotTraceable
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.lane import CurrentTrial, LaneFailure, LaneSpec, MemoryMiss
from hydro.tuner.training.out_of_memory import free_unused, is_out_of_memory
from hydro.tuner.training.peak_memory import peak_bytes
from hydro.tuner.training.trainer import BundleTrainer
from hydro.worker.bundle import BundleBuilder
from hydro.worker.device import Workplace
from hydro.worker.lane_log import LaneLogs
from hydro.worker.memory_watch import MemoryWatch
from hydro.worker.recipe import Grant, Lane
from hydro.worker.round import Keeper, LaneNews, Reports, Verdict
from hydro.worker.slot_memory import SlotMemory
from hydro.worker.succession import Succession


class Attempt:
    """Trains the lanes of a lease from one measured step to the next, and does what the verdicts say.

    A checkpoint is stored before it is reported, under a path with the lease's fencing token in it; an attempt that has
    lost its lease can neither report nor overwrite.
    """

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
        """All of the bundle; those that the trainer does not have wait for memory."""
        self._measured: dict[str, int] = {}
        self._current = CurrentTrial()
        self._logs = LaneLogs(self._current)
        self._trainer: BundleTrainer | None = None
        self._execution = grant.recipe.execution
        self._held = grant.recipe.max_lanes
        """The most lanes that the trainer holds."""
        self._noted_misses = 0
        self._untold: tuple[MemoryMiss, ...] = ()
        self._watch = MemoryWatch(grant, builder.device)
        self._slot_memory = SlotMemory(workplace.memory_room_bytes, partial(peak_bytes, builder.device), monotonic)
        self._fitting = grant.recipe.max_lanes
        """As many lanes the slot's memory holds now."""
        self._checkpointed_at = monotonic()
        self._succession = Succession(self._lanes, workplace, self._save, self._note)

    def run(self) -> None:
        """Trains until no lanes are left, or the coordinator or this process wants to stop.

        Raises:
            LeaseLost: Everything that was not acknowledged is void.
            GateLost: The slot has gone; the last acknowledged checkpoints hold.
            Exception: The bundle cannot be trained: whatever the task raised for all lanes.
        """
        with redirect_stdout(self._logs):
            self._begin()
            try:
                self._train()
            except Interrupted:
                # In the middle of a step; lanes that are not whole go on from their last checkpoints.
                if self._running.undoes_steps:
                    self._save_all()

    def _train(self) -> None:
        while self._has_lanes():
            if self._keeper.release_requested or self._is_stopping() or not self._fitting:
                self._save_all()
                return
            self._advance_within_memory()

    @property
    def _running(self) -> BundleTrainer:
        if self._trainer is None:
            raise RuntimeError("the bundle has not been built")
        return self._trainer

    def _begin(self) -> None:
        task = self._workplace.aside(self._builder.load)
        self._rebuild: Callable[[Sequence[LaneSpec]], BundleTrainer] = lambda lanes: self._workplace.aside(
            lambda: self._builder.trainer(task, lanes, self._execution, self._current)
        )
        self._begin_anew()
        self._admit(self._recipe.lanes)

    def _begin_anew(self) -> None:
        """Lets go of all lanes: they go on from their last checkpoints, which the coordinator knows."""
        self._trainer = None
        free_unused(self._builder.device)
        self._watch.begin()
        self._noted_misses = 0
        self._trainer = self._rebuild([])

    def _admit(self, lanes: Sequence[Lane]) -> None:
        """Notes lanes; they join before the next step."""
        self._logs.add_trials(lane.trial for lane in lanes)
        last = self._recipe.measured_steps[-1]
        for lane in lanes:
            self._lanes[lane.trial] = lane
            # A lane that has nothing left to train is measured once more: its first measurement stands.
            self._measured[lane.trial] = lane.start_step if lane.start_step < last else -1

    def _has_lanes(self) -> bool:
        """Lets in lanes that wait, as many as memory holds; says whether any train."""
        while (waiting := self._waiting()) and len(self._running.lanes) < self._most:
            self._let_in(waiting[: self._most - len(self._running.lanes)])
        return bool(self._running.lanes)

    @property
    def _most(self) -> int:
        return min(self._held, self._fitting)

    def _waiting(self) -> list[Lane]:
        inside = {status.trial for status in self._running.lanes}
        return [lane for trial, lane in self._lanes.items() if trial not in inside]

    def _let_in(self, lanes: Sequence[Lane]) -> None:
        specs = self._read(lanes)
        wanted = len(self._running.lanes) + len(specs)
        try:
            self._insert(specs)
        except (RuntimeError, MemoryError) as error:
            is_smallest = wanted == 1 and self._execution is Execution.SEPARATE
            if is_smallest or not is_out_of_memory(error):
                raise
        else:
            self._note(f"{self._grant.name}: {self._running.report}", [spec.trial for spec in specs])
            self._note_misses()
            self._report_failures()
            return
        # Outside the handler: the error held the frames, and they the tensors.
        self._hold_fewer_than(wanted)

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
            self._workplace.aside(lambda: self._running.insert(specs))
        except (NotFusible, NotTraceable) as error:
            self._separate(specs, str(error))

    def _hold_fewer_than(self, lanes: int) -> None:
        """There was no room for so many: some wait until others have left."""
        self._note_misses()
        self._held = max(len(self._running.lanes), lanes // 2, 1)
        structlog.get_logger().warning("out of memory: lanes wait for others to leave", lanes=lanes, held=self._held)
        if lanes == 1:
            # A separate model has nothing beside it; where even that does not fit, its trial fails.
            self._execution = Execution.SEPARATE
            self._begin_anew()
        free_unused(self._builder.device)

    def _advance_within_memory(self) -> None:
        try:
            self._advance()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error)
        else:
            self._note_misses()
            return
        # Outside the handler: the error held the frames, and they the activations.
        self._begin_smaller(reason)

    def _note_misses(self) -> None:
        misses = self._running.misses[self._noted_misses :]
        if misses:
            self._noted_misses += len(misses)
            self._learn(misses)

    def _learn(self, misses: Sequence[MemoryMiss]) -> None:
        """Keeps to it from now on, and tells at once: a process that runs out of memory may not live to tell later."""
        self._builder.learn(misses)
        self._note(self._running.report, [status.trial for status in self._running.lanes])
        self._untold = (*self._untold, *misses)
        self._tell([])

    def _watch_memory(self) -> None:
        """Between steps: tells of more memory than was planned, and makes do with less before some is refused."""
        at_once = self._running.fusion_count
        miss = self._watch.look(at_once) if self._execution is not Execution.SEPARATE else None
        if miss is None:
            return
        self._untold = (*self._untold, miss)
        if at_once > 1 and self._watch.is_near_limit(miss):
            structlog.get_logger().warning("memory is nearly full: fewer lanes at once", **asdict(miss))
            self._running.run_at_most(at_once // 2)
            # Later bundles of this process begin like that.
            self._builder.learn([miss])
            self._watch.begin()

    def _begin_smaller(self, reason: str) -> None:
        """Has lanes begin again with fewer at once, then as separate models, then with fewer of them."""
        self._note_misses()
        held, at_once = self._running.lanes, self._running.fusion_count
        if self._execution is not Execution.SEPARATE:
            self._learn([MemoryMiss(at_once, peak_bytes(self._builder.device))])
            self._execution = Execution.SEPARATE if at_once == 1 else self._execution
        elif len(held) > 1:
            self._held = len(held) // 2
        else:
            self._tell([LaneNews(status.trial, status.step, failure=reason) for status in held])
        structlog.get_logger().warning(
            "out of memory: lanes begin again from their checkpoints",
            lanes=at_once,
            execution=self._execution.value,
            held=self._held,
        )
        self._begin_anew()

    def _advance(self) -> None:
        """To the next measurement, checkpoint or failure."""
        due = [status.trial for status in self._running.lanes if self._steps_left(status.trial, status.step) == 0]
        if due:
            self._measure(due)
            return
        if self._succession.change(self._running):
            self._report_failures()
            return
        steps = min(self._steps_left(status.trial, status.step) for status in self._running.lanes)
        for _ in range(steps):
            if self._refit():
                return
            self._running.train_step()
            if self._report_failures() or self._keeper.release_requested or self._is_stopping():
                return
            if self._monotonic() - self._checkpointed_at >= self._recipe.checkpoint_interval_seconds > 0:
                self._save_all()
                return

    def _refit(self) -> bool:
        """Fits the lanes to a slot's memory: others wait with their checkpoints. Says whether that changes anything."""
        running = [status.trial for status in self._running.lanes]
        fitting = self._slot_memory.fitting_lanes(len(running))
        if fitting is None:
            return False
        before, self._fitting = self._most, min(fitting, self._recipe.max_lanes)
        if 0 < self._fitting < len(running):
            structlog.get_logger().warning("the slot's memory shrinks: lanes wait", held=self._fitting)
            self._put_aside(running[self._fitting :])
        return self._most != before

    def _put_aside(self, trials: Sequence[str]) -> None:
        """Stores and reports lanes, of which none is due to be measured, and lets go of them."""
        self._tell(self._saved(trials))
        self._running.remove(self._lanes.keys() & set(trials))
        free_unused(self._builder.device)
        self._watch.begin()

    def _steps_left(self, trial: str, step: int) -> int:
        """Optimizer steps to the lane's next measurement, or to other hyperparameters."""
        measured = self._measured[trial]
        stops = [each for each in self._recipe.measured_steps if each > measured and each >= step][:1]
        stops += [each.step for each in self._lanes[trial].changes if each.step > step][:1]
        return min(stops, default=step) - step

    def _measure(self, due: Sequence[str]) -> None:
        steps = {status.trial: status.step for status in self._running.lanes}
        metrics = self._running.validate(due)
        self._report_failures()
        news = [self._measurement(trial, steps[trial], metrics[trial]) for trial in due if trial in metrics]
        for each in news:
            self._measured[each.trial] = each.steps
        self._watch_memory()
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
        """Stores and reports every lane as it is, but those that are due to be measured.

        A lane that begins at a measured step counts as measured there; these go on from their checkpoint before it.
        """
        due = [each.trial for each in self._running.lanes if not self._steps_left(each.trial, each.step)]
        news = self._saved([each.trial for each in self._running.lanes if each.trial not in due])
        self._watch_memory()
        self._tell(news)
        self._checkpointed_at = self._monotonic()

    def _saved(self, trials: Sequence[str]) -> list[LaneNews]:
        steps = {each.trial: each.step for each in self._running.lanes}
        return [
            LaneNews(trial, steps[trial], checkpoint=self._save(trial, steps[trial]), log=self._logs.take(trial))
            for trial in trials
        ]

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
        failed = [each.trial for each in news if each.failure]
        free = max(0, min(self._recipe.max_lanes, self._most) - len(self._lanes.keys() - set(failed)))
        answer = self._reporter.report(news, free, self._running.fusion_count, self._untold)
        self._untold = ()
        self._drop(failed + [trial for trial, verdict in answer.verdicts.items() if self._ends(trial, verdict)])
        if answer.clones:
            self._succession.replace(self._running, answer.clones)
            self._report_failures()
        self._admit(answer.insertions)

    def _ends(self, trial: str, verdict: Verdict) -> bool:
        return verdict is not Verdict.CONTINUE or self._measured.get(trial, 0) >= self._recipe.measured_steps[-1]

    def _drop(self, trials: Sequence[str]) -> None:
        for trial in trials:
            self._lanes.pop(trial, None)
            self._measured.pop(trial, None)
            self._logs.drop(trial)
        if trials:
            self._running.remove(trials)

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
        self._begin_anew()
        self._trainer = self._rebuild([*current, *new])

    def _note(self, text: str, trials: Sequence[str]) -> None:
        first_line = text.splitlines()[0]
        for trial in trials:
            self._logs.add(trial, first_line + "\n")
