"""What a study must be: everything that is wrong with it, found before anything is stored."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from hydro.coordinator.command_validation import command_violations
from hydro.coordinator.evolution.validation import validate_population
from hydro.coordinator.names import ID_PATTERN
from hydro.coordinator.objectives import validate_objectives
from hydro.coordinator.pruning.validation import validate_pruning
from hydro.coordinator.sampling import validate_sampling
from hydro.coordinator.search_space import SearchSpace, validate_some_hyperparameters
from hydro.coordinator.search_space import validate as validate_search_space
from hydro.coordinator.stopping import validate_stopping
from hydro.coordinator.study import StudySpec, Task
from hydro.coordinator.trial import MAX_STEPS, Hyperparameters
from hydro.kit.errors import FieldViolation

_ID = re.compile(ID_PATTERN)
_ENTRY_POINT = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
MAX_TRIALS = 1_000_000
MAX_KNOWN_POINTS = 1000
"""They travel with the study."""
MAX_PRIORS = 16


def validate_study_id(study_id: str) -> list[FieldViolation]:
    """What is wrong with the id of a new study."""
    if _ID.fullmatch(study_id):
        return []
    shown = study_id if len(study_id) <= 100 else f"{study_id[:100]}..."
    return [FieldViolation("study_id", f"is {shown!r}: use 1 to 63 of a-z, 0-9 and '-', a letter first")]


def validate_spec(spec: StudySpec) -> list[FieldViolation]:
    """Everything that is wrong with a study. Empty: nothing."""
    in_space = validate_search_space(spec.search_space)
    return [
        *(() if spec.task is None else _task_violations(spec.task)),
        *in_space,
        *validate_objectives(spec),
        *(() if spec.command is None else command_violations(spec.command, spec.search_space)),
        *validate_population(spec),
        *_number_violations(spec),
        *_surrogate_violations(spec),
        *_prior_violations(spec),
        # Neither a sampler nor a point can be held against a space that is wrong itself, nor a rule against such steps.
        *(() if in_space else validate_sampling(spec)),
        *(() if in_space else validate_known_points(spec.search_space, spec.known_points, spec.max_trials)),
        *validate_stopping(spec.stopping, spec.endurance, is_driven=spec.is_driven),
        *(validate_pruning(spec.pruning, spec.max_steps) if spec.max_steps >= 0 else ()),
    ]


def validate_known_points(
    space: SearchSpace, points: Sequence[Hyperparameters], most: int, field: str = "study.known_points"
) -> list[FieldViolation]:
    """What is wrong with points of a valid space, for which a study has so many trials at most."""
    most = min(most, MAX_KNOWN_POINTS)
    if len(points) > most:
        return [FieldViolation(field, f"are {len(points)}: give at most {max(0, most)}, the trials that are left")]
    found = []
    for index, point in enumerate(points):
        if not point:
            found.append(FieldViolation(f"{field}[{index}].hyperparameters", "is empty: give at least one value"))
        found += validate_some_hyperparameters(space, point, f"{field}[{index}].hyperparameters")
    return found


def _number_violations(spec: StudySpec) -> Iterator[FieldViolation]:
    if spec.task is not None and spec.command is not None:
        yield FieldViolation("study.command", "excludes study.task: give one of them")
    least_steps = 0 if spec.task is None else 1
    if not least_steps <= spec.max_steps <= MAX_STEPS:
        yield FieldViolation("study.max_steps", f"is {spec.max_steps}: give {least_steps} to {MAX_STEPS}")
    if not 1 <= spec.max_trials <= MAX_TRIALS:
        yield FieldViolation("study.max_trials", f"is {spec.max_trials}: give 1 to {MAX_TRIALS}")
    if spec.parallelism < 1:
        yield FieldViolation("study.parallelism", f"is {spec.parallelism}: give 1 or more")
    if spec.seed < 0:
        yield FieldViolation("study.seed", f"is {spec.seed}: give 0 or more")


def _surrogate_violations(spec: StudySpec) -> Iterator[FieldViolation]:
    width, depth, checks = spec.surrogate_width, spec.surrogate_depth, spec.verification.checks
    if not 0 < width <= 1:
        yield FieldViolation("study.surrogate_width", f"is {width:g}: give the surrogate over the target, in (0, 1]")
    elif spec.command is not None and width != 1:
        yield FieldViolation(
            "study.surrogate_width", f"is {width:g}, and a command has no surrogate: give 1, or a task"
        )
    if not 0 < depth <= 1:
        yield FieldViolation("study.surrogate_depth", f"is {depth:g}: give the surrogate over the target, in (0, 1]")
    elif depth < 1 and (spec.task is None or width == 1):
        yield FieldViolation(
            "study.surrogate_depth",
            f"is {depth:g}, and there is no surrogate to have fewer layers: give a task and a surrogate_width below 1",
        )
    if len(set(checks)) < len(checks):
        named = ", ".join(check.value for check in checks)
        yield FieldViolation("study.verification.checks", f"are {named}: give each check once")
    if checks and (spec.task is None or width == 1):
        yield FieldViolation(
            "study.verification.checks", "there is no surrogate to check: give a task and a surrogate_width below 1"
        )


def _prior_violations(spec: StudySpec) -> Iterator[FieldViolation]:
    named = [prior.study for prior in spec.priors]
    if len(named) > MAX_PRIORS:
        yield FieldViolation("study.priors", f"are {len(named)}: give at most {MAX_PRIORS}")
    for index, study in enumerate(named):
        if study in named[:index]:
            yield FieldViolation(f"study.priors[{index}].study", f"is {study} again: give each study once")


def _task_violations(task: Task) -> Iterator[FieldViolation]:
    found = _ENTRY_POINT.fullmatch(task.entry_point)
    if found is None:
        yield FieldViolation(
            "study.task.entry_point", f"is {task.entry_point!r}: give module:Class, as in digits:Digits"
        )
        return
    if task.source_path and not Path(task.source_path).is_dir():
        yield FieldViolation(
            "study.task.source_path",
            f"is {task.source_path!r}, and there is no such folder here: give one that the services and workers see "
            "too",
        )
    elif not _module_exists(found.group(1), task.source_path):
        where = f"in {task.source_path}" if task.source_path else "among the installed ones"
        yield FieldViolation(
            "study.task.entry_point",
            f"is {task.entry_point!r}, and there is no module {found.group(1)!r} {where}: "
            "give the folder that holds it as source_path",
        )


def _module_exists(module: str, source_path: str) -> bool:
    """Whether the module can be found. Nothing is imported: packages on the way to it are user code too."""
    path = [source_path, *sys.path] if source_path else list(sys.path)
    parents = module.split(".")
    for depth in range(len(parents)):
        # A finder's cache of a folder does not show a file that was written a moment ago.
        PathFinder.invalidate_caches()
        spec = PathFinder.find_spec(".".join(parents[: depth + 1]), path)
        if spec is None:
            return False
        path = list(spec.submodule_search_locations or ())
    return True
