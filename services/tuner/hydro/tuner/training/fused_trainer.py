"""Lanes as grouped programs: all at once, or in micro-bundles one after the other."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import structlog

from hydro.tuner.fusion.compiled import bucket
from hydro.tuner.fusion.lower import NotFusible
from hydro.tuner.task import Batch
from hydro.tuner.tracing import NotTraceable
from hydro.tuner.training.data import BatchSource, Cursor
from hydro.tuner.training.failures import LaneFailures
from hydro.tuner.training.fused_lane import FusedLane
from hydro.tuner.training.fused_validation import FusedValidation
from hydro.tuner.training.lane import LaneClone, LaneFailure, LaneSpec, LaneStatus, MemoryMiss
from hydro.tuner.training.micro_bundle import MicroBundle, MovingLane
from hydro.tuner.training.out_of_memory import OutOfMemory, free_unused, is_out_of_memory
from hydro.tuner.training.peak_memory import peak_bytes
from hydro.tuner.training.programs import ProgramLibrary
from hydro.tuner.training.schedules import Change
from hydro.tuner.training.trainer import Surroundings, require_metric

_Result = TypeVar("_Result")


def _compiled_from(micro_lanes: int | None) -> int:
    """Fewer lanes than run in the power of two that was planned would compile once more: they run as emitted."""
    return bucket(micro_lanes) // 2 + 1 if micro_lanes else 1


class FusedTrainer:
    """Trains lanes in micro-bundles: each goes forward, backward and through the optimizer before the next one does.

    A lane's results do not depend on which lanes are in its micro-bundle, so their size is a matter of speed and memory
    alone: the activations of one of them are there at a time.
    """

    def __init__(
        self,
        given: Surroundings,
        micro_lanes: int | None = None,
        *,
        compiles: bool = False,
        programs: ProgramLibrary | None = None,
    ) -> None:
        """Takes the most lanes that run at once (None: all of them), and whether their training is to be compiled.

        It is compiled for one power of two of lanes: the one that holds `micro_lanes`.

        `programs` are those of another trainer of the same task (see `twin`); None: its own.
        """
        self._given = given
        self._task = given.task
        self._micro_lanes = micro_lanes
        self._failures = LaneFailures(given.current)
        self._micro: list[MicroBundle] = []
        self._misses: list[MemoryMiss] = []
        self._programs = programs or ProgramLibrary(
            given.task, compiled_from=_compiled_from(micro_lanes) if compiles else None
        )
        self._validation = FusedValidation(given.task, self._programs, given.gate)
        self._source = BatchSource(given.task, given.data_seed)

    @property
    def lanes(self) -> tuple[LaneStatus, ...]:
        """See `BundleTrainer`."""
        return tuple(LaneStatus(lane.trial, lane.step) for lane in self._lanes())

    def _lanes(self) -> list[FusedLane]:
        return [lane for micro in self._micro for lane in micro.lanes]

    @property
    def fusion_count(self) -> int:
        """See `BundleTrainer`."""
        return max((len(micro) for micro in self._micro), default=1)

    @property
    def report(self) -> str:
        """See `BundleTrainer`."""
        counts = [len(micro) for micro in self._micro]
        how = "as one program" if len(counts) < 2 else f"in micro-bundles of {', '.join(map(str, counts))}"
        missed = "".join(f" (out of memory with {miss.lanes} at once)" for miss in self._misses[-1:])
        compiled = f", {self.compilation}" if self.compilation else ""
        return f"{sum(counts)} lanes {how}{missed}{compiled}; {self._programs.report}"

    @property
    def compilation(self) -> str:
        """Whether training runs compiled, and if not, why, in words; empty where nobody asked for it."""
        return self._programs.compilation

    @property
    def misses(self) -> tuple[MemoryMiss, ...]:
        """See `BundleTrainer`."""
        return tuple(self._misses)

    def twin(self) -> FusedTrainer:
        """Gives another trainer without lanes, whose programs need not be traced again."""
        return FusedTrainer(self._given, self._micro_lanes, programs=self._programs)

    @property
    def undoes_steps(self) -> bool:
        """See `BundleTrainer`."""
        return True

    def run_at_most(self, lanes: int) -> None:
        """See `BundleTrainer`."""
        self._micro_lanes = min(self._micro_lanes or lanes, lanes)

    def train_step(self) -> None:
        """See `BundleTrainer`."""
        if not self._micro:
            return
        with self._given.gate.segment("data"):
            batches = self._source.draw()
        losses = self._step_micro_bundles(batches)
        if not all(map(math.isfinite, losses)):
            self._drop_diverged(losses)

    def _step_micro_bundles(self, batches: Sequence[Batch]) -> list[float]:
        streams, losses, index = self._source.stream_of_lane, list[float](), 0
        while index < len(self._micro):
            micro = self._micro[index]
            if self._room(micro) < 0:
                self._split(index)
                continue
            own = streams[len(losses) : len(losses) + len(micro)]
            done = self._attempted(len(micro), partial(micro.train_step, batches, own))
            if done is not None:
                losses, index = losses + done, index + 1
        return losses

    def _attempted(self, lanes: int, work: Callable[[], _Result]) -> _Result | None:
        """The result for so many lanes at once, or None when it ran out of memory and can be tried by halves."""
        try:
            return work()
        except Exception as error:
            if not is_out_of_memory(error) or isinstance(error, OutOfMemory):
                raise
            miss = MemoryMiss(lanes, peak_bytes(self._task.device))
            if miss.lanes == 1:
                raise OutOfMemory(miss) from error
        # Outside the handler: the error held the frames, and they the activations.
        self._learn(miss)
        free_unused(self._task.device)
        return None

    def _learn(self, miss: MemoryMiss) -> None:
        self._misses.append(miss)
        self._micro_lanes = min(self._micro_lanes or miss.lanes, (miss.lanes + 1) // 2)
        structlog.get_logger().warning(
            "out of memory: fewer lanes at once",
            lanes=miss.lanes,
            memory_bytes=miss.memory_bytes,
            micro_lanes=self._micro_lanes,
        )

    def _split(self, index: int) -> None:
        """Goes on with as few lanes at once as are known to be too many no longer, from where these lanes are."""
        micro, size = self._micro[index], self._micro_lanes or 1
        starts = range(size, len(micro), size)
        moving = [micro.moving(range(start, min(start + size, len(micro)))) for start in starts]
        others = [MicroBundle(self._given, self._programs, each) for each in moving]
        micro.keep(range(size))
        self._micro[index + 1 : index + 1] = others

    def _drop_diverged(self, losses: Sequence[float]) -> None:
        dead = [(lane, loss) for lane, loss in zip(self._lanes(), losses, strict=True) if not math.isfinite(loss)]
        for lane, loss in dead:
            self._failures.add_diverged(lane.trial, lane.step - 1, loss)
        self.remove([lane.trial for lane, _ in dead])

    def validate(self, trials: Sequence[str]) -> dict[str, dict[str, float]]:
        """See `BundleTrainer`."""
        metrics, index = dict[str, dict[str, float]](), 0
        while index < len(self._micro):
            micro = self._micro[index]
            done = self._attempted(len(micro), partial(self._validate, micro, set(trials)))
            if done is None:
                self._split(index)
            else:
                metrics, index = metrics | done, index + 1
        return metrics

    def _validate(self, micro: MicroBundle, trials: Collection[str]) -> dict[str, dict[str, float]]:
        indices = [index for index, lane in enumerate(micro.lanes) if lane.trial in trials]
        metrics = self._validation.measure(micro.lanes, indices, micro.stacked)
        changes = [Change.NOTHING] * len(micro)
        for index in indices:
            lane = micro.lanes[index]
            changes[index] = lane.numbers.schedule.observe(require_metric(metrics[lane.trial], self._given.objective))
        micro.follow(changes)
        return metrics

    def checkpoint(self, trial: str) -> bytes:
        """See `BundleTrainer`."""
        micro, index = self._find(trial)
        lane = micro.lanes[index]
        return lane.state(micro.stacked.state_dict(index), micro.optimizer_state(index)).to_bytes()

    def _find(self, trial: str) -> tuple[MicroBundle, int]:
        for micro in self._micro:
            for index, lane in enumerate(micro.lanes):
                if lane.trial == trial:
                    return micro, index
        raise KeyError(trial)

    def insert(self, lanes: Sequence[LaneSpec]) -> None:
        """See `BundleTrainer`."""
        built = [lane for spec in lanes for lane in self._built(spec)]
        if built:
            self._check_fusible([*self._lanes(), *built])
            self._join([MovingLane.fresh(lane) for lane in built])
            self._regroup()

    def clone(self, clones: Sequence[LaneClone]) -> None:
        """See `BundleTrainer`."""
        heirs = {clone.trial: heir for clone in clones for heir in self._heir(clone)}
        if heirs:
            self._check_fusible([heirs.get(lane.trial, lane) for lane in self._lanes()])
        parents = {clone.trial: self._find(clone.parent) for clone in clones}
        for place, micro in enumerate(self._micro):
            own = {index: heirs[lane.trial] for index, lane in enumerate(micro.lanes) if lane.trial in heirs}
            if all(parents[heir.trial][0] is micro for heir in own.values()):
                micro.succeed({index: (parents[heir.trial][1], heir) for index, heir in own.items()})
            else:
                self._micro[place] = self._with_heirs(micro, own, parents)
        # Those whose own code refuses the hyperparameters.
        self.remove([clone.trial for clone in clones if clone.trial not in heirs])

    def _heir(self, clone: LaneClone) -> Iterator[FusedLane]:
        micro, index = self._find(clone.parent)
        parent = micro.lanes[index]
        spec = LaneSpec(clone.trial, clone.hyperparameters, clone.seed)
        but = (NotTraceable, NotFusible)
        with self._failures.attributed(clone.trial, parent.step, but=but, is_alone=False):
            yield FusedLane(self._task, spec, self._given.models, parent)

    def _with_heirs(
        self,
        micro: MicroBundle,
        heirs: Mapping[int, FusedLane],
        parents: Mapping[str, tuple[MicroBundle, int]],
    ) -> MicroBundle:
        """The micro-bundle stacked anew, with lanes that come from others in it."""
        moving = micro.moving(range(len(micro)))
        for index, heir in heirs.items():
            home, place = parents[heir.trial]
            (parent,) = home.moving([place])
            moving[index] = MovingLane(heir, parent.tensors, parent.optimizer_state)
        return MicroBundle(self._given, self._programs, moving)

    def _built(self, spec: LaneSpec) -> Iterator[FusedLane]:
        """The lane, or nothing when the task raises for it."""
        but = (NotTraceable, NotFusible)
        with self._failures.attributed(spec.trial, spec.start_step, but=but, is_alone=False):
            yield FusedLane(self._task, spec, self._given.models)

    def _check_fusible(self, lanes: Sequence[FusedLane]) -> None:
        first = lanes[0]
        for lane in lanes[1:]:
            if not lane.steps_like(first):
                raise NotFusible(f"{lane.trial} and {first.trial} have other parameters or another optimizer")
        hyperparameters = lanes[-1].hyperparameters
        batch = next(iter(self._task.train_batches(hyperparameters, self._source.seed, lanes[-1].step)))
        # Any of them may come together later, when others have gone.
        self._programs.check(lanes, batch)
        for part in self._parted(lanes):
            self._programs.program(part, batch, train=True)
            self._validation.prepare(part)

    def _parted(self, lanes: Sequence[FusedLane]) -> Iterator[Sequence[FusedLane]]:
        size = self._micro_lanes or len(lanes)
        return (lanes[start : start + size] for start in range(0, len(lanes), size))

    def _join(self, arriving: list[MovingLane]) -> None:
        """Fills the last micro-bundle, then further ones: with all lanes or none."""
        stacked: list[MicroBundle] | None = None
        while stacked is None:
            # Stacked anew, so that what has no room leaves everything as it was.
            kept, last = (self._micro[:-1], self._micro[-1:]) if self._has_room() else (self._micro, [])
            lanes = sum(map(len, last)) + len(arriving)
            at_once = min(lanes, self._micro_lanes or lanes)
            stacked = self._attempted(at_once, partial(self._stacked, last, arriving))
        self._micro = [*kept, *stacked]

    def _has_room(self) -> bool:
        return bool(self._micro) and self._room(self._micro[-1]) > 0

    def _stacked(self, micro: Sequence[MicroBundle], arriving: Sequence[MovingLane] = ()) -> list[MicroBundle]:
        moving = [*(lane for each in micro for lane in each.moving(range(len(each)))), *arriving]
        size = self._micro_lanes or len(moving)
        starts = range(0, len(moving), size)
        return [MicroBundle(self._given, self._programs, moving[start : start + size]) for start in starts]

    def _room(self, micro: MicroBundle) -> int:
        return sys.maxsize if self._micro_lanes is None else self._micro_lanes - len(micro)

    def remove(self, trials: Collection[str]) -> None:
        """See `BundleTrainer`."""
        for micro in self._micro:
            kept = [index for index, lane in enumerate(micro.lanes) if lane.trial not in trials]
            if len(kept) < len(micro):
                micro.keep(kept)
        self._regroup()

    def _regroup(self) -> None:
        """Puts lanes together again where fewer micro-bundles hold them, in their order."""
        self._micro = [micro for micro in self._micro if micro.lanes]
        size = self._micro_lanes or math.inf
        if len(self._micro) > math.ceil(sum(map(len, self._micro)) / size):
            first = next(index for index, micro in enumerate(self._micro) if len(micro) < size)
            try:
                self._micro = [*self._micro[:first], *self._stacked(self._micro[first:])]
            except Exception as error:
                # They are held twice meanwhile; without room for that they go on as they are.
                if not is_out_of_memory(error):
                    raise
        self._source.place_lanes([Cursor(lane.step, lane.hyperparameters) for lane in self._lanes()])

    def take_failures(self) -> tuple[LaneFailure, ...]:
        """See `BundleTrainer`."""
        return self._failures.take()
