"""The checks of a surrogate: static and coordinate check always, the others on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydro.tuner.building.climbing import SolutionAt, climb, searched_rate
from hydro.tuner.building.rate_sweep import RateSweep
from hydro.tuner.building.request import BuildRequest, Check
from hydro.tuner.shrinking.check_figures import CheckFigures, RungFigure, SlopeFigure
from hydro.tuner.shrinking.coordinate_check import CoordinateCheck, check_coordinates
from hydro.tuner.shrinking.depth_check import DepthCheck, check_depths
from hydro.tuner.shrinking.ladder import Ladder
from hydro.tuner.shrinking.shrink import ShrunkModel
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.shrinking.surrogate import build_surrogate
from hydro.tuner.shrinking.update_size import UpdateSizeCheck, check_update_sizes
from hydro.tuner.task import TrainingTask


@dataclass(frozen=True, slots=True)
class Verified:
    """What the checks found."""

    coordinates: CoordinateCheck
    update_sizes: UpdateSizeCheck | None = None
    depths: DepthCheck | None = None
    ladder: Ladder | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """What failed, with the layer and the likely rule."""
        return (
            *self.coordinates.failures,
            *(self.depths.failures if self.depths else ()),
            *self._told_of_sizes(growing=True),
            *((self.ladder.finding,) if self.ladder and self.ladder.has_failed else ()),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, failures included."""
        told = [*(self.depths.warnings if self.depths else ()), *(self.ladder.warnings if self.ladder else ())]
        return tuple(
            dict.fromkeys([*self.coordinates.findings, *self.failures, *self._told_of_sizes(growing=False), *told])
        )

    def _told_of_sizes(self, *, growing: bool) -> tuple[str, ...]:
        """Tensors that move more at larger widths make large rates diverge there; those that move less do not."""
        if self.update_sizes is None:
            return ()
        pairs = zip(self.update_sizes.wrong, self.update_sizes.warnings, strict=True)
        return tuple(text for each, text in pairs if (each.slope > 0) is growing)

    @property
    def report(self) -> tuple[str, ...]:
        """The tables."""
        checks = (self.coordinates, self.depths, self.update_sizes, self.ladder)
        return tuple(str(each) for each in checks if each is not None)

    @property
    def figures(self) -> CheckFigures:
        """What a picture is drawn from."""
        rungs = self.ladder.rungs if self.ladder else ()
        return CheckFigures(
            tuple(
                SlopeFigure(each.layer, each.slope, each.half_width, each.verdict.value)
                for each in self.coordinates.layers
            ),
            tuple(RungFigure(rung.width, rung.best, rung.finite_losses) for rung in rungs),
        )

    @property
    def refusal(self) -> str:
        """Why there is no surrogate, and how to go on."""
        return (
            "the surrogate fails its checks: "
            + "; ".join(self.failures)
            + ". Mend the model, tune the target itself (width 1), or go on all the same: accept_failed_checks"
        )


def verify(
    task: TrainingTask, hyperparameters: Mapping[str, Any], shrunk: ShrunkModel, request: BuildRequest
) -> Verified:
    """Runs the checks that a request asks for.

    Raises:
        InvalidArgument: the ladder is asked for, and no learning rate is searched.
        TaskFailed: the task's own code raised.
    """
    checks = request.checks
    # First: it needs no training to refuse.
    rate = searched_rate(request.values) if Check.LADDER in checks else None
    coordinates = check_coordinates(task, hyperparameters, shrunk)
    depths = check_depths(task, hyperparameters, shrunk) if shrunk.solution.stacks else None
    sizes = _update_sizes(task, hyperparameters, shrunk) if Check.UPDATE_SIZE in checks else None
    if rate is None:
        return Verified(coordinates, sizes, depths)
    sweep = RateSweep(task, hyperparameters, rate.name, request.max_steps)
    ladder = climb(sweep, rate, shrunk.solution.width, towards_the_target(task, hyperparameters, shrunk.solution))
    return Verified(coordinates, sizes, depths, ladder)


def towards_the_target(task: TrainingTask, hyperparameters: Mapping[str, Any], narrowest: Solution) -> SolutionAt:
    """The surrogates of a ladder whose depth rises with its width, towards the target."""

    def solution_at(width: float) -> Solution | None:
        if narrowest.depth == 1 or width == 1:
            return None
        depth = min(1.0, narrowest.depth * width / narrowest.width)
        return build_surrogate(task, hyperparameters, width, depth=depth).solution

    return solution_at


def _update_sizes(task: TrainingTask, hyperparameters: Mapping[str, Any], shrunk: ShrunkModel) -> UpdateSizeCheck:
    """With three times the seeds where it fails: of tens of tensors, one is outside of its interval by chance."""
    first = check_update_sizes(task, hyperparameters, shrunk)
    return check_update_sizes(task, hyperparameters, shrunk, seeds=9) if first.wrong else first
