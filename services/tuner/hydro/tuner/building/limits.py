"""What a build may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """Bounds on one build, so that no task takes the machine with it."""

    timeout_seconds: float = 600.0
    memory_bytes: int = 8 * 2**30
    """Resident memory of the build's process and its children together."""
    threads: int = 1
    """Of torch: a profile is measured with as many as a worker has."""
    compiles: bool = True
    """Whether the compiled form is measured, where it may pay."""
