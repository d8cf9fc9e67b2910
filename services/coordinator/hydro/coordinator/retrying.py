"""What becomes of trials whose run ended through no measurement: whose fault it was, and whether they go on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hydro.coordinator.bundle import PlannedBundle
from hydro.coordinator.trial import Trial


@dataclass(frozen=True, slots=True)
class Judged:
    """A trial's new counts. `has_failed`: it is not run again."""

    failures: int
    lane_limit: int
    has_failed: bool


def after_loss(trial: Trial, lanes: int, max_retries: int, *, trains_together: bool = False) -> Judged:
    """A worker was lost, or raised, with so many lanes.

    Beside others nobody is blamed: each is run again beside at most half as many, so that one that ends workers is
    alone after a few losses, and has cost its mates no retry. Alone it counts, from the start again if it came further
    than the time before. Members that train together stay so at a first loss, and when they came further.
    """
    last = trial.retries[-1] if trial.retries else None
    came_further = last is not None and trial.checkpoint_steps > last.steps
    if lanes > 1:
        stays = trains_together and (last is None or came_further)
        return Judged(trial.failures, 0 if stays else math.ceil(lanes / 2), has_failed=False)
    failures = 1 if came_further else trial.failures + 1
    return Judged(failures, 1, failures > max_retries)


def after_refusal(trial: Trial, max_retries: int) -> Judged:
    """A worker gave up a bundle of a study of which nothing ever ran: the fault is the task's, and counts for all."""
    failures = trial.failures + 1
    return Judged(failures, trial.lane_limit, failures > max_retries)


def isolated(bundles: Iterable[PlannedBundle], lane_limits: Mapping[int, int]) -> list[PlannedBundle]:
    """The bundles with those trials apart that may not be in one with many.

    Args:
        bundles: As they are planned.
        lane_limits: Number of a trial to the most lanes of its bundle; others have no limit.
    """
    found = []
    for bundle in bundles:
        free = tuple(number for number in bundle.trials if number not in lane_limits)
        if free:
            found.append(replace(bundle, trials=free))
        suspects = sorted((number for number in bundle.trials if number in lane_limits), key=lane_limits.__getitem__)
        while suspects:
            group = suspects[: lane_limits[suspects[0]]]
            suspects = suspects[len(group) :]
            found.append(_closed(bundle, group))
    return found


def _closed(bundle: PlannedBundle, group: Sequence[int]) -> PlannedBundle:
    # No lane is inserted later: a newcomer would be lost with the others.
    lanes = len(group)
    return replace(bundle, trials=tuple(group), max_lanes=lanes, micro_lanes=min(bundle.micro_lanes, lanes))
