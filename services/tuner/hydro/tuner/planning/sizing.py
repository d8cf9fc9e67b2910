"""How many lanes pay on a device, how many of them run at once, and whether to fuse them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from hydro.tuner.planning.profile import CompiledPoint, Profile, ProfilePoint
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.lane import MemoryMiss

NEAR_PEAK = 0.97
"""A fusion count is large enough at this share of the peak throughput: the curve is flat beyond, and a longer bundle
costs memory and loses more with its worker (on the authors' GPU 100 lanes give 96 % of 220 at half the memory)."""

MOST_AT_ONCE = 0.9
"""Of a given number of lanes, as many run at once as reach this share of the best throughput: a micro-bundle is
profiled while the caches hold it, and meets them cold where others step between (measured: a tenth of a step)."""

BUNDLE_LANES = 8
"""A bundle holds so many lanes even where fewer run at once, separate models among them: they gain no speed from each
other, but their data are drawn once for all, and so is their model built."""

BUBBLE_SHARE = 0.8
"""Largest share of a slot's bubble that a segment may fill, so that a slow one still ends before the bubble does."""


@dataclass(frozen=True, slots=True)
class PlannedDevice:
    """An idle device."""

    device: str
    memory_bytes: int = 0
    """0: not known, and not a limit."""
    bubble_seconds: float = 0.0
    """The longest recurring bubble of a slot. 0: exclusive."""
    misses: tuple[MemoryMiss, ...] = ()
    """Of bundles of the surrogate in question."""

    def runs_at_once(self, lanes: int) -> bool:
        """Tells whether so many lanes at once are known to be too many no longer: half of what was refused."""
        return all(lanes <= miss.lanes // 2 for miss in self.misses if miss.refused)

    def holds(self, memory_bytes: int, segment_seconds: float) -> bool:
        """Tells whether a bundle with these needs runs here."""
        fits_memory = not self.memory_bytes or memory_bytes <= self.memory_bytes
        fits_bubble = not self.bubble_seconds or segment_seconds <= BUBBLE_SHARE * self.bubble_seconds
        return fits_memory and fits_bubble


@dataclass(frozen=True, slots=True)
class Sizing:
    """The kind of bundle that suits a device."""

    profile: Profile
    execution: Execution
    lanes: int
    """Most lanes of such a bundle."""
    micro_lanes: int
    """Most lanes that run at once."""
    memory_bytes: int
    segment_seconds: float

    def rate(self, lanes: int) -> float:
        """Gives the lane-steps per second of such a bundle with this many lanes; separate lanes all cost alike."""
        if self.execution is Execution.SEPARATE:
            return 1.0
        return lanes / self.profile.step_seconds(lanes, min(lanes, self.micro_lanes))


def choose_sizing(
    profile: Profile, device: PlannedDevice, lanes: int | None = None, *, at_first: int | None = None, steps: int = 0
) -> Sizing | None:
    """Gives the bundle that is worth most on a device, or None when not even one lane fits.

    The smallest count near the peak throughput among those that fit runs at once, if a fused lane-step there is cheaper
    than a separate one; separate models otherwise.

    Args:
        profile: What a step costs.
        device: Where it is to run.
        lanes: How many lanes there are to train; None: as many as one likes.
        at_first: How many of them a bundle would start with; None: all, and as many as run at once.
        steps: How many a bundle has left to earn a compilation in; 0: as many as the profile was measured for.
    """
    profile = replace(profile, misses=(*profile.misses, *device.misses))
    points = _fitting_points(profile, device)
    best = smallest_near_peak(profile, points, lanes)
    separate_fits = device.holds(profile.separate_memory_bytes, profile.separate_segment_seconds)
    compiled = profile.compiled
    if compiled and _compiling_pays(profile, compiled, device, best, lanes or at_first, steps):
        return _fused_sizing(profile, device, _compiled_point(profile, compiled), lanes, Execution.COMPILED)
    if best and (_fusion_pays(profile, best, lanes) or not separate_fits):
        return _fused_sizing(profile, device, best, lanes)
    return separate_sizing(profile, lanes) if separate_fits else None


def _fitting_points(profile: Profile, device: PlannedDevice) -> list[ProfilePoint]:
    """The measured counts that fit, and the largest one that should fit between them and the next."""
    points: list[ProfilePoint] = []
    for measured in profile.fused:
        between = range(measured.lanes, points[-1].lanes if points else 0, -1)
        fitting = next((point for point in map(profile.point, between) if _fits(device, point)), None)
        if fitting is not None:
            points.append(fitting)
        if fitting is None or fitting.lanes < measured.lanes:
            break
    return points


def _fits(device: PlannedDevice, point: ProfilePoint) -> bool:
    return device.runs_at_once(point.lanes) and device.holds(point.memory_bytes, point.segment_seconds)


def separate_sizing(profile: Profile, lanes: int | None = None) -> Sizing:
    """Gives bundles of separate models: what runs wherever anything does."""
    return Sizing(
        profile,
        Execution.SEPARATE,
        lanes or BUNDLE_LANES,
        1,
        profile.separate_memory_bytes,
        profile.separate_segment_seconds,
    )


def _fused_sizing(
    profile: Profile,
    device: PlannedDevice,
    best: ProfilePoint,
    lanes: int | None,
    execution: Execution = Execution.FUSED,
) -> Sizing:
    wanted = lanes or best.lanes * max(1, BUNDLE_LANES // best.lanes)
    memory_bytes = best.memory_bytes + max(0, wanted - best.lanes) * profile.lane_memory_bytes
    if lanes is None and not device.holds(memory_bytes, best.segment_seconds):
        wanted, memory_bytes = best.lanes, best.memory_bytes
    return Sizing(profile, execution, wanted, best.lanes, memory_bytes, best.segment_seconds)


def _compiling_pays(
    profile: Profile,
    compiled: CompiledPoint,
    device: PlannedDevice,
    best: ProfilePoint | None,
    lanes: int | None,
    steps: int,
) -> bool:
    """Tells whether a lane-step is cheapest compiled, with its share of the compilation, on a device of one's own.

    A compilation is longer than any bubble, and what it gives has no places to pause at.
    """
    point = _compiled_point(profile, compiled)
    if device.bubble_seconds or not _fits(device, point):
        return False
    # A part of a micro-bundle costs what a whole one does.
    count = lanes or compiled.lanes
    seconds = ceil(count / compiled.lanes) * compiled.seconds(steps) / count
    fused = 1 / _rate(profile, best, lanes) if best else float("inf")
    return seconds < min(fused, profile.separate_step_seconds or float("inf"))


def _compiled_point(profile: Profile, compiled: CompiledPoint) -> ProfilePoint:
    """The emitted form's, with the memory of both. It fits no slot: no segment of it is measured."""
    point = profile.point(compiled.lanes)
    return replace(point, memory_bytes=max(point.memory_bytes, compiled.memory_bytes), segment_seconds=0.0)


def _fusion_pays(profile: Profile, point: ProfilePoint, lanes: int | None) -> bool:
    """Tells whether a lane-step of a fused bundle is cheaper than one of a separate model."""
    return not profile.separate_step_seconds or 1 / _rate(profile, point, lanes) < profile.separate_step_seconds


def smallest_near_peak(
    profile: Profile, points: Sequence[ProfilePoint], lanes: int | None = None
) -> ProfilePoint | None:
    """Gives the smallest of these counts with nearly the best throughput of them; None: there are none.

    With the number of lanes given, nothing is saved by a smaller count but memory, which they all have: the largest one
    near the best.
    """
    if lanes is not None:
        best = max((_rate(profile, point, lanes) for point in points), default=0.0)
        near = [point for point in points if _rate(profile, point, lanes) >= MOST_AT_ONCE * best]
        return max(near, key=lambda point: min(point.lanes, lanes), default=None)
    peak = max((point.rate for point in points), default=0.0)
    return next((point for point in points if point.rate >= NEAR_PEAK * peak), None)


def _rate(profile: Profile, point: ProfilePoint, lanes: int | None) -> float:
    """Lane-steps per second of so many lanes in micro-bundles as large as this point."""
    return point.rate if lanes is None else lanes / profile.step_seconds(lanes, min(lanes, point.lanes))
