"""Lanes that go on from others, and lanes whose hyperparameters change on their way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hydro.tuner.fusion.lower import NotFusible
from hydro.tuner.tracing import NotTraceable
from hydro.tuner.training.lane import LaneClone
from hydro.tuner.training.trainer import BundleTrainer
from hydro.worker.bundle_lanes import BundleLanes
from hydro.worker.device import Workplace
from hydro.worker.round import ClonedLane


class Succession:
    """Changes lanes where they stand; those that cannot be changed leave the trainer, and come in again as they are.

    Args:
        lanes: The bundle's: what is known of each is kept up to date.
        workplace: Where what takes longer than a bubble is done.
    """

    def __init__(self, lanes: BundleLanes, workplace: Workplace) -> None:
        self._lanes = lanes
        self._workplace = workplace

    def replace(self, running: BundleTrainer, clones: Sequence[ClonedLane]) -> None:
        """Has lanes go on from their parents: live ones, or the checkpoints of those that are not here."""
        steps = {status.trial: status.step for status in running.lanes}
        here: list[LaneClone] = []
        for clone in clones:
            lane = clone.lane
            if lane.trial not in steps:
                continue
            self._lanes.by_trial[lane.trial] = lane
            said = f"goes on from {clone.parent} after {lane.start_step} steps: {dict(lane.hyperparameters)}"
            self._lanes.note(said, [lane.trial])
            if steps.get(clone.parent) == lane.start_step:
                here.append(LaneClone(lane.trial, clone.parent, lane.hyperparameters, lane.seed))
            else:
                running.remove([lane.trial])
        self._clone(running, here)

    def change(self, running: BundleTrainer) -> bool:
        """Gives lanes the hyperparameters that they have from their step on; says whether any had to be."""
        clones = []
        for status in running.lanes:
            lane = self._lanes.by_trial[status.trial]
            if lane.changes and lane.changes[0].step == status.step:
                now = lane.changes[0].hyperparameters
                # Where it begins again, it begins with these hyperparameters.
                self._lanes.save(status.trial, status.step)
                saved = self._lanes.by_trial[status.trial]
                self._lanes.by_trial[status.trial] = replace(saved, hyperparameters=now, changes=lane.changes[1:])
                clones.append(LaneClone(status.trial, status.trial, now, lane.seed))
        self._clone(running, clones)
        return bool(clones)

    def _clone(self, running: BundleTrainer, clones: Sequence[LaneClone]) -> None:
        if not clones:
            return
        try:
            self._workplace.aside(lambda: running.clone(clones))
        except (NotFusible, NotTraceable):
            # Where they come in again there is a way to go on apart.
            running.remove([clone.trial for clone in clones])
