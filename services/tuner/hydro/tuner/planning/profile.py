"""What a step of a surrogate costs at each fusion count, as measured on one machine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class ProfilePoint:
    """The cost of a bundle of so many lanes, run as one program."""

    lanes: int
    step_seconds: float
    """Of the whole bundle."""
    memory_bytes: int
    segment_seconds: float
    """The longest part of a step that runs undivided, 99th percentile: what has to fit into a bubble."""

    @property
    def rate(self) -> float:
        """Lane-steps per second."""
        return self.lanes / self.step_seconds


@dataclass(frozen=True, slots=True)
class Profile:
    """Fused bundles at ascending fusion counts, against separate surrogates and the target.

    Zero stands for what was not measured.
    """

    fused: tuple[ProfilePoint, ...] = ()
    separate_step_seconds: float = 0.0
    """Separate surrogates, one after the other: of one of them."""
    separate_memory_bytes: int = 0
    separate_segment_seconds: float = 0.0
    lane_memory_bytes: int = 0
    """What each further lane holds while others run: its parameters and its optimizer's state."""
    target_step_seconds: float = 0.0
    target_memory_bytes: int = 0

    def fused_step_seconds(self, lanes: int) -> float:
        """Gives the step seconds of a fused bundle, on the line between the two nearest measured counts.

        Outside the measured range the nearest count's seconds per lane hold.
        """
        for below, above in pairwise(self.fused):
            if below.lanes <= lanes <= above.lanes:
                share = (lanes - below.lanes) / (above.lanes - below.lanes)
                return below.step_seconds + share * (above.step_seconds - below.step_seconds)
        nearest = min(self.fused, key=lambda point: abs(point.lanes - lanes))
        return lanes / nearest.rate

    def step_seconds(self, lanes: int, micro_lanes: int) -> float:
        """Gives the step seconds of a fused bundle that runs in micro-bundles of so many lanes."""
        full, rest = divmod(lanes, micro_lanes)
        return full * self.fused_step_seconds(micro_lanes) + (self.fused_step_seconds(rest) if rest else 0.0)

    def __str__(self) -> str:
        lanes = ", ".join(f"{point.lanes}: {1e3 / point.rate:.2f}" for point in self.fused)
        return (
            f"milliseconds per step: target {1e3 * self.target_step_seconds:.2f}, "
            f"separate surrogate {1e3 * self.separate_step_seconds:.2f}, "
            + (f"a lane of a fused bundle by lanes {lanes}" if lanes else "no fused bundle")
        )
