"""When the compiled form of a bundle is worth measuring, and for how long one may wait for its compilation."""

from __future__ import annotations

from hydro.tuner.fusion.compiled import bucket
from hydro.tuner.planning.profile import Profile, ProfilePoint
from hydro.tuner.planning.sizing import smallest_near_peak

EXPECTED_GAIN = 0.2
"""The share of a step's time that compiling may be hoped to save."""

EXPECTED_COMPILE_SECONDS = 30.0
"""What a compilation may be feared to take: it is begun only for bundles that earn so much in all their steps."""


def bundle_steps(max_steps: int) -> int:
    """Gives the steps of a bundle that a profile is measured for: the largest power of two not above a study's.

    So studies that are about as long share a profile. 0: not known.
    """
    return 1 << (max_steps.bit_length() - 1) if max_steps > 0 else 0


def compiling_could_pay(point: ProfilePoint, bundle_steps: int) -> bool:
    """Tells whether so many steps of a bundle might earn what their compilation takes; not where it would run padded.

    Padded, it would hold memory for more lanes than were measured.
    """
    is_full = bucket(point.lanes) == point.lanes
    return is_full and _hoped_seconds(point, bundle_steps) > EXPECTED_COMPILE_SECONDS


def patience_for_compiling(profile: Profile, bundle_steps: int) -> float:
    """Gives the seconds to wait at most for the compiled form of bundles with so many steps: those that it may save.

    0: it could not pay.
    """
    best = smallest_near_peak(profile, profile.fused)
    if best is None or not compiling_could_pay(best, bundle_steps):
        return 0.0
    return _hoped_seconds(best, bundle_steps)


def _hoped_seconds(point: ProfilePoint, bundle_steps: int) -> float:
    return bundle_steps * point.step_seconds * EXPECTED_GAIN
