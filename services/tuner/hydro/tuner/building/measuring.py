"""The profile of a surrogate: found beside the artifacts, or measured, the compiled form last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hydro.tuner.building.profile_cache import ProfileCache
from hydro.tuner.building.task_failure import TaskFailed
from hydro.tuner.planning.compiling import patience_for_compiling
from hydro.tuner.planning.profiler import Measured, Profiler
from hydro.tuner.planning.subject import ProfileFailed

Tell = Callable[[Measured, float], None]
"""Is told what holds should the compiled form not be measured in so many seconds."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """What is measured, and where it may have been before."""

    profiler: Profiler
    cache: ProfileCache
    key: str | None
    """None: nobody can tell what else the profile would hold for."""
    bundle_steps: int
    """0: the compiled form is not measured."""

    def measured(self, max_lanes: int, *, fuse: bool, tell: Tell) -> Measured:
        """Gives the profile.

        Args:
            max_lanes: Fusion counts are measured up to this one.
            fuse: Whether to try fused bundles at all.
            tell: Is called before anything is compiled.

        Raises:
            TaskFailed: the task raised, or its loss is not finite from the start.
        """
        found = self.cache.find(self.key) if self.key else None
        if found is not None:
            return found
        try:
            measured = self.profiler.measure(max_lanes, fuse=fuse)
        except ProfileFailed as error:
            raise TaskFailed(f"while its steps were measured, {error}\n{error.failure.traceback}".rstrip()) from error
        seconds = patience_for_compiling(measured.profile, self.bundle_steps)
        if seconds:
            self._tell_before_compiling(measured, seconds, tell)
            measured = self._with_compiled(measured)
        self._store(measured)
        return measured

    def _tell_before_compiling(self, measured: Measured, seconds: float, tell: Tell) -> None:
        without = measured.adding(
            f"not compiled: the compilation did not end within the {seconds:.0f} s that it might save, or within what "
            f"the build may use"
        )
        # Stored as well: the next study does not wait for it again.
        self._store(without)
        tell(without, seconds)

    def _with_compiled(self, measured: Measured) -> Measured:
        try:
            return self.profiler.measure_compiled(measured, self.bundle_steps)
        except Exception as error:  # noqa: BLE001 - the compiler may raise anything, and the profile holds without it
            return measured.adding(f"not compiled: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")

    def _store(self, measured: Measured) -> None:
        if self.key:
            self.cache.store(self.key, measured)
