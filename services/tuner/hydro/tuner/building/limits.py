"""What a build may use."""

from __future__ import annotations

from dataclasses import dataclass

from hydro.tuner.building.request import BuildRequest, Check


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """Bounds on one build, so that no task takes the machine with it."""

    timeout_seconds: float = 600.0
    memory_bytes: int = 8 * 2**30
    """Resident memory of the build's process and its children together."""
    threads: int | None = None
    """Of torch; None: as many as the devices give."""
    compiles: bool = True
    """Whether the compiled form is measured, where it may pay."""
    ladder_seconds: float = 3600.0
    """Further ones for a build that trains a ladder."""

    def seconds_for(self, request: BuildRequest) -> float:
        """How long a build may take."""
        return self.timeout_seconds + (self.ladder_seconds if Check.LADDER in request.checks else 0.0)
