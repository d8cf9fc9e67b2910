"""How many lanes pay on a device, and whether to fuse them."""

from __future__ import annotations

from dataclasses import dataclass

from hydro.tuner.planning.profile import Profile, ProfilePoint
from hydro.tuner.training.execution import Execution

NEAR_PEAK = 0.95
"""A fusion count is large enough at this share of the peak throughput: the curve is flat beyond, and a longer bundle
costs memory and loses more with its worker (on the authors' GPU 100 lanes give 96 % of 220 at half the memory)."""

SEPARATE_LANES = 8
"""Lanes of a bundle of separate models: they gain no speed from each other, but their model is built once for all."""

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
    memory_bytes: int
    segment_seconds: float

    def rate(self, lanes: int) -> float:
        """Gives the lane-steps per second of such a bundle with this many lanes; separate lanes all cost alike."""
        return lanes / self.profile.fused_step_seconds(lanes) if self.execution is Execution.FUSED else 1.0


def choose_sizing(profile: Profile, device: PlannedDevice) -> Sizing | None:
    """Gives the bundle that is worth most on a device, or None when not even one lane fits.

    The smallest fusion count near the peak throughput among those that fit, if a fused lane-step there is cheaper than
    a separate one; separate models otherwise.
    """
    points = [point for point in profile.fused if device.holds(point.memory_bytes, point.segment_seconds)]
    best = _smallest_near_peak(points)
    separate_fits = device.holds(profile.separate_memory_bytes, profile.separate_segment_seconds)
    if best and (fusion_pays(profile, best) or not separate_fits):
        return Sizing(profile, Execution.FUSED, best.lanes, best.memory_bytes, best.segment_seconds)
    return separate_sizing(profile) if separate_fits else None


def separate_sizing(profile: Profile) -> Sizing:
    """Gives bundles of separate models: what runs wherever anything does."""
    return Sizing(
        profile, Execution.SEPARATE, SEPARATE_LANES, profile.separate_memory_bytes, profile.separate_segment_seconds
    )


def fusion_pays(profile: Profile, point: ProfilePoint) -> bool:
    """Tells whether a lane-step of a fused bundle is cheaper than one of a separate model."""
    return not profile.separate_step_seconds or 1 / point.rate < profile.separate_step_seconds


def _smallest_near_peak(points: list[ProfilePoint]) -> ProfilePoint | None:
    peak = max((point.rate for point in points), default=0.0)
    return next((point for point in points if point.rate >= NEAR_PEAK * peak), None)
