"""How many lanes a bundle holds at once, and what is learned of its memory on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import structlog

from hydro.tuner.training.execution import Execution
from hydro.tuner.training.lane import MemoryMiss
from hydro.tuner.training.out_of_memory import free_unused
from hydro.tuner.training.peak_memory import peak_bytes
from hydro.worker.bundle_lanes import BundleLanes
from hydro.worker.device import Workplace
from hydro.worker.memory_watch import MemoryWatch
from hydro.worker.recipe import Grant
from hydro.worker.round import LaneNews
from hydro.worker.running_bundle import RunningBundle
from hydro.worker.slot_memory import SlotMemory


class BundleMemory:
    """Keeps a bundle within its memory: by what was refused, by what is held, and by what a slot has.

    Args:
        grant: Tells what was planned.
        workplace: Tells what a slot has.
        bundle: Is made smaller.
        lanes: Its own.
        tell: Reports at once.
        monotonic: Tells when a slot's memory was looked at.
    """

    def __init__(
        self,
        grant: Grant,
        workplace: Workplace,
        bundle: RunningBundle,
        lanes: BundleLanes,
        tell: Callable[[Sequence[LaneNews]], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bundle = bundle
        self._lanes = lanes
        self._tell = tell
        self._watch = MemoryWatch(grant, bundle.device)
        self._slot = SlotMemory(workplace.memory_room_bytes, partial(peak_bytes, bundle.device), monotonic)
        self._max_lanes = self._held = self._fitting = grant.recipe.max_lanes
        self._untold: tuple[MemoryMiss, ...] = ()

    @property
    def most(self) -> int:
        """The most lanes that the trainer may hold; 0: the slot's memory holds none now."""
        return min(self._held, self._fitting)

    def take_untold(self) -> tuple[MemoryMiss, ...]:
        """Gives what the coordinator has not been told yet."""
        untold, self._untold = self._untold, ()
        return untold

    def note_misses(self) -> None:
        """Takes in where the trainer ran out of memory and went on with fewer lanes at once."""
        if misses := self._bundle.take_misses():
            self._learn(misses)

    def hold_fewer_than(self, lanes: int) -> None:
        """There was no room for so many: some wait until others have left."""
        self.note_misses()
        self._held = max(len(self._bundle.trials), lanes // 2, 1)
        structlog.get_logger().warning("out of memory: lanes wait for others to leave", lanes=lanes, held=self._held)
        if lanes == 1:
            # A separate model has nothing beside it; where even that does not fit, its trial fails.
            self._bundle.execution = Execution.SEPARATE
            self._bundle.begin_anew()
        free_unused(self._bundle.device)

    def begin_smaller(self, reason: str) -> None:
        """Has lanes begin again with fewer at once, then as separate models, then with fewer of them."""
        self.note_misses()
        held, at_once = self._bundle.trainer.lanes, self._bundle.trainer.fusion_count
        if self._bundle.execution is not Execution.SEPARATE:
            self._learn([MemoryMiss(at_once, peak_bytes(self._bundle.device))])
            self._bundle.execution = Execution.SEPARATE if at_once == 1 else self._bundle.execution
        elif len(held) > 1:
            self._held = len(held) // 2
        else:
            self._tell([LaneNews(status.trial, status.step, failure=reason) for status in held])
        structlog.get_logger().warning(
            "out of memory: lanes begin again from their checkpoints",
            lanes=at_once,
            execution=self._bundle.execution.value,
            held=self._held,
        )
        self._bundle.begin_anew()

    def watch(self) -> None:
        """Between steps: tells of more memory than was planned, and makes do with less before some is refused."""
        at_once = self._bundle.trainer.fusion_count
        miss = self._watch.look(at_once) if self._bundle.execution is not Execution.SEPARATE else None
        if miss is None:
            return
        self._untold = (*self._untold, miss)
        if at_once > 1 and self._watch.is_near_limit(miss):
            structlog.get_logger().warning("memory is nearly full: fewer lanes at once", **asdict(miss))
            self._bundle.trainer.run_at_most(at_once // 2)
            # Later bundles of this process begin like that.
            self._bundle.learn([miss])
            self._watch.begin()

    def refit(self) -> bool:
        """Fits the lanes to a slot's memory: others wait with their checkpoints. Says whether that changes anything."""
        running = self._bundle.trials
        fitting = self._slot.fitting_lanes(len(running))
        if fitting is None:
            return False
        before, self._fitting = self.most, min(fitting, self._max_lanes)
        if 0 < self._fitting < len(running):
            structlog.get_logger().warning("the slot's memory shrinks: lanes wait", held=self._fitting)
            self._put_aside(running[self._fitting :])
        return self.most != before

    def _put_aside(self, trials: Sequence[str]) -> None:
        """Stores and reports lanes, of which none is due to be measured, and lets go of them."""
        self._tell(self._lanes.saved(trials))
        self._bundle.trainer.remove(self._lanes.by_trial.keys() & set(trials))
        free_unused(self._bundle.device)
        self._watch.begin()

    def _learn(self, misses: Sequence[MemoryMiss]) -> None:
        """Keeps to it from now on, and tells at once: a process that runs out of memory may not live to tell later."""
        self._bundle.learn(misses)
        self._lanes.note(self._bundle.trainer.report, self._bundle.trials)
        self._untold = (*self._untold, *misses)
        self._tell([])
