"""What a step of a surrogate costs at each fusion count, as measured on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from hydro.tuner.planning.memory_line import MemoryEstimate, predict_memory
from hydro.tuner.training.lane import MemoryMiss


@dataclass(frozen=True, slots=True)
class ProfilePoint:
    """The cost of a bundle of so many lanes, run as one program."""

    lanes: int
    step_seconds: float
    """Of the whole bundle."""
    memory_bytes: int
    segment_seconds: float = 0.0
    """The longest part of a step or a validation that runs undivided on a slot, 99th percentile: what has to fit into a
    bubble. 0: not measured."""

    @property
    def rate(self) -> float:
        """Lane-steps per second."""
        return self.lanes / self.step_seconds


@dataclass(frozen=True, slots=True)
class CompiledPoint:
    """The cost of a bundle of so many lanes, run as one program by way of torch.compile."""

    lanes: int
    """A power of two: at others it runs padded."""
    step_seconds: float
    """Of the whole bundle."""
    compile_seconds: float
    bundle_steps: int
    """So many steps a bundle was expected to take, and to earn the compilation in."""
    memory_bytes: int = 0
    """The compilation included."""

    def seconds(self, steps: int = 0) -> float:
        """Gives what a step costs with its share of the compilation, in a bundle of so many; 0: as was expected."""
        return self.step_seconds + self.compile_seconds / (steps or self.bundle_steps)

    def __str__(self) -> str:
        return (
            f"compiled: {1e3 * self.step_seconds / self.lanes:.2f} milliseconds per step of a lane with {self.lanes} "
            f"lanes, after {self.compile_seconds:.0f} s of compiling"
        )


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
    target_step_seconds: float = 0.0
    target_memory_bytes: int = 0

    lane_memory_bytes: int = 0
    """What each further lane holds while others run: its parameters and its optimizer's state."""
    misses: tuple[MemoryMiss, ...] = ()
    """Bundles that held more or ran out of memory when they were trained, whatever had been measured."""

    compiled: CompiledPoint | None = None
    """None: not measured, since it could not pay, or not to be had."""
    threads: int = 0
    """Of one op."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Reads what `dataclasses.asdict` gives, and JSON of it."""
        points = tuple(ProfilePoint(**point) for point in fields["fused"])
        misses = tuple(MemoryMiss(**miss) for miss in fields["misses"])
        compiled = CompiledPoint(**fields["compiled"]) if fields.get("compiled") else None
        return cls(**{**fields, "fused": points, "misses": misses, "compiled": compiled})

    def fused_memory(self, lanes: int) -> MemoryEstimate:
        """Predicts the memory of a fused bundle of so many lanes at once."""
        measured = [(point.lanes, point.memory_bytes) for point in self.fused]
        return predict_memory(measured, lanes, self.misses)

    def point(self, lanes: int) -> ProfilePoint:
        """Gives the cost at a count between the measured ones, with the memory that it hardly exceeds."""
        for point in self.fused:
            if point.lanes == lanes and not self.misses:
                return point
        longest = next((point for point in self.fused if point.lanes >= lanes), self.fused[-1])
        memory_bytes = self.fused_memory(lanes).upper_bytes
        return ProfilePoint(lanes, self.fused_step_seconds(lanes), memory_bytes, longest.segment_seconds)

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
