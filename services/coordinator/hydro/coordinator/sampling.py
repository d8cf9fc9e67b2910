"""Which sampler searches a study: what the caller chose, or the first rule that fits; and what it cannot do there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import entry_points
from importlib.util import find_spec

from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.search.grid import grid_of, infinite_parameters
from hydro.coordinator.search.search_backend import GROUP
from hydro.coordinator.search.unit_cube import count_of
from hydro.coordinator.search_space import CategoricalDomain, FloatDomain, IntDomain, Parameter, SearchSpace
from hydro.coordinator.study import Sampler, StudySpec
from hydro.kit.errors import FieldViolation

_MODULES = {Sampler.GP: ("torch", "gp")}
"""What a sampler needs beside the coordinator's own dependencies, and the extra that installs it."""
_ONE_LOSS = ("hyperopt", "hyperopt-anneal")
"""The external samplers that look at the first objective alone."""


@dataclass(frozen=True)
class Shape:
    """What the rules look at."""

    spec: StudySpec

    @cached_property
    def points(self) -> int | None:
        """Of a finite space."""
        grid = grid_of(self.spec.search_space)
        return None if grid is None else grid.size

    @cached_property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters with more than one value."""
        return tuple(each for each in self.spec.search_space.parameters if count_of(each.domain) != 1)

    @property
    def is_all_numbers(self) -> bool:
        """Whether all are numbers that are always active."""
        return bool(self.searched) and not drawn_at_random(self.spec.search_space)


@dataclass(frozen=True, slots=True)
class Rule:
    """A sampler, when it is the right one, and why."""

    sampler: Sampler
    fits: Callable[[Shape], bool]
    reason: str


MOST_GP_TRIALS, MOST_GP_NUMBERS, MOST_GP_PARALLELISM = 200, 20, 16
LEAST_NSGA2_TRIALS = 400
LEAST_CMA_TRIALS, MOST_CMA_PARALLELISM = 1_000, 32

RULES = (
    Rule(
        Sampler.GRID,
        lambda shape: shape.points is not None and shape.points <= shape.spec.max_trials,
        "the {points} points of the space are no more than the {trials} trials: each is tried once",
    ),
    Rule(
        Sampler.QUASI_RANDOM,
        lambda shape: shape.spec.parallelism >= shape.spec.max_trials,
        "all {trials} trials may run at once: none can learn from another, so they are spread evenly",
    ),
    Rule(
        Sampler.NSGA2,
        lambda shape: len(shape.spec.objectives) > 1 and shape.spec.max_trials >= LEAST_NSGA2_TRIALS,
        "{trials} trials with several objectives: enough generations for NSGA-II to spread over the front",
    ),
    Rule(
        Sampler.TPE,
        lambda shape: len(shape.spec.objectives) > 1,
        "several objectives, and too few trials for generations of NSGA-II",
    ),
    Rule(
        Sampler.TPE,
        lambda shape: not isinstance(shape.spec.pruning, NoPruning),
        "most trials are pruned, and TPE learns from those too",
    ),
    Rule(
        Sampler.GP,
        lambda shape: (
            shape.is_all_numbers
            and len(shape.searched) <= MOST_GP_NUMBERS
            and shape.spec.max_trials <= MOST_GP_TRIALS
            and shape.spec.parallelism <= MOST_GP_PARALLELISM
            and not missing_module(Sampler.GP)
        ),
        "{numbers} numbers, {trials} trials and {parallelism} at once: few enough for a Gaussian process, which learns "
        "most from each",
    ),
    Rule(
        Sampler.CMA_ES,
        lambda shape: (
            shape.is_all_numbers
            and not shape.spec.constraints
            and len(shape.searched) > 1
            and shape.spec.max_trials >= LEAST_CMA_TRIALS
            and shape.spec.parallelism <= MOST_CMA_PARALLELISM
        ),
        "{trials} trials of {numbers} numbers that are always active: enough for CMA-ES to learn how they depend on "
        "each other",
    ),
    Rule(Sampler.TPE, lambda shape: True, "TPE takes every kind of parameter, conditions and parallel trials"),
)
"""For AUTO: the first one that fits."""


def settled(spec: StudySpec) -> StudySpec:
    """The spec of a valid study with the sampler that searches it, the reason, and no more trials than a grid has."""
    reason = _limits(spec)
    if spec.sampler is Sampler.AUTO:
        spec, reason = _chosen(spec)
    if spec.sampler is Sampler.GRID and (grid := grid_of(spec.search_space)) is not None:
        if grid.size > spec.max_trials:
            reason = _joined(reason, f"the grid has {grid.size} points, more than the {spec.max_trials} trials")
        spec = replace(spec, max_trials=min(spec.max_trials, grid.size))
    return replace(spec, sampler_reason=reason)


def validate_sampling(spec: StudySpec) -> list[FieldViolation]:
    """What keeps a study with a valid search space from being searched as it says."""
    return list(_violations(spec))


def missing_module(sampler: Sampler) -> str:
    """The module that the sampler needs and that is not installed; empty: none."""
    module, _ = _MODULES.get(sampler, ("", ""))
    return module if module and find_spec(module) is None else ""


def drawn_at_random(space: SearchSpace) -> dict[str, str]:
    """The parameters that CMA-ES leaves to chance, each with the reason."""
    found = {}
    for each in space.parameters:
        if count_of(each.domain) == 1:
            continue
        if isinstance(each.domain, CategoricalDomain):
            found[each.name] = "categorical"
        elif each.conditions:
            found[each.name] = "conditional"
    return found


def _chosen(spec: StudySpec) -> tuple[StudySpec, str]:
    shape = Shape(spec)
    rule = next(each for each in RULES if each.fits(shape))
    reason = rule.reason.format(
        points=shape.points,
        trials=spec.max_trials,
        parallelism=spec.parallelism,
        numbers=len(shape.searched),
    )
    return replace(spec, sampler=rule.sampler), f"auto chose {rule.sampler.value}: {reason}"


def _limits(spec: StudySpec) -> str:
    random = drawn_at_random(spec.search_space)
    found = ""
    if spec.sampler is Sampler.CMA_ES and random:
        named = ", ".join(f"{name} ({why})" for name, why in random.items())
        found = f"CMA-ES searches the numbers that are always active; drawn at random: {named}"
    if spec.sampler in (Sampler.CMA_ES, Sampler.GP, Sampler.NSGA2) and not isinstance(spec.pruning, NoPruning):
        found = _joined(found, f"{spec.sampler.value} learns nothing from pruned trials; TPE does")
    return _joined(found, _unconstrained(spec))


def _unconstrained(spec: StudySpec) -> str:
    """What the sampler does not see of the constraints, or may not see of the objectives."""
    constrained = ", ".join(each.metric for each in spec.constraints)
    name = spec.external_sampler or spec.sampler.value
    if constrained and (spec.sampler is Sampler.CMA_ES or name in _ONE_LOSS):
        return f"{name} does not see the constraints ({constrained}): only best trials heed them; TPE searches by them"
    if spec.sampler is Sampler.EXTERNAL and name not in _ONE_LOSS and (constrained or spec.further_objectives):
        return f"whether {name} searches by all objectives and constraints is its own matter"
    return ""


def _joined(one: str, other: str) -> str:
    return "; ".join(each for each in (one, other) if each)


def _violations(spec: StudySpec) -> Iterator[FieldViolation]:
    module = missing_module(spec.sampler)
    if module:
        _, extra = _MODULES[spec.sampler]
        advice = f"needs {module}, which is not installed here: install hydro-coordinator[{extra}], or choose another"
        yield FieldViolation("study.sampler", f"{spec.sampler.value} {advice}")
    match spec.sampler:
        case Sampler.GRID:
            yield from _grid_violations(spec.search_space)
        case Sampler.CMA_ES if not _always_active_numbers(spec.search_space):
            advice = "searches numbers that are always active, and the space has none: choose TPE"
            yield FieldViolation("study.sampler", f"CMA_ES {advice}")
        case Sampler.CMA_ES if len(spec.objectives) > 1:
            yield FieldViolation("study.sampler", "CMA_ES takes one objective: choose NSGA2 or TPE")
        case Sampler.EXTERNAL:
            known = sorted(each.name for each in entry_points(group=GROUP))
            if spec.external_sampler not in known:
                others = f"one of {', '.join(known)}, or " if known else ""
                advice = f"no search backend of that name is installed here: give {others}a sampler of Hydro's own"
                yield FieldViolation("study.external_sampler", f"is {spec.external_sampler!r}, and {advice}")
            elif spec.external_sampler in _ONE_LOSS and len(spec.objectives) > 1:
                advice = f"is {spec.external_sampler!r}, which takes one objective: choose NSGA2 or TPE"
                yield FieldViolation("study.external_sampler", advice)


def _grid_violations(space: SearchSpace) -> Iterator[FieldViolation]:
    places = {each.name: place for place, each in enumerate(space.parameters)}
    infinite = infinite_parameters(space)
    for each in infinite:
        path = f"study.search_space.parameters[{places[each.name]}].float_domain.step"
        yield FieldViolation(path, f"is 0: a grid needs finitely many values of {each.name!r}; give a step or a choice")
    if not infinite and grid_of(space) is None:
        advice = "cannot count the points of this space: its conditions tell too many cases apart; choose TPE"
        yield FieldViolation("study.sampler", f"GRID {advice}")


def _always_active_numbers(space: SearchSpace) -> list[Parameter]:
    return [
        each
        for each in space.parameters
        if isinstance(each.domain, (FloatDomain, IntDomain)) and not each.conditions and count_of(each.domain) != 1
    ]
