"""The keys of a study's file: how each is written, and what it says. docs/study-file.md is made from this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StudyKey:
    """One key; `argument` is its name in `Client.create_study`, which has its default."""

    form: str
    meaning: str
    argument: str


def _keys(**keys: tuple[str, str] | tuple[str, str, str]) -> Mapping[str, StudyKey]:
    return {name: StudyKey(given[0], given[1], given[2] if len(given) > 2 else name) for name, given in keys.items()}


KEYS = _keys(
    id=("text", "The study's id in its project: 1 to 63 of a-z, 0-9 and `-`, a letter first.", "study_id"),
    task=(
        '"module:Class"',
        "The `TrainingTask` that is tuned. Without `task` and `command` its caller [drives](own-loop.md) the study.",
    ),
    command=("list of texts, or [a mapping](#command)", "A [program](commands.md) to run for each trial instead."),
    source_path=(
        "folder, relative to the file",
        "Where the task's module or the program is, the same on every machine. Left out: where the module is found "
        "from here; none for a command.",
    ),
    search_space=(
        "mapping of names to [domains](#search_space)",
        "What is searched: [the search space](search-space.md).",
    ),
    objective=(
        "`{minimize: METRIC}`, `{maximize: METRIC}`, or a list of these",
        "What is optimized: one metric, or [up to eight](objectives.md).",
    ),
    constraints=(
        "`{METRIC: {min: number, max: number}}`",
        "Bounds that the end of a trial keeps, one or both: [constraints](objectives.md#constraints).",
    ),
    known_points=("list of mappings of names to values", "Tried first, each exactly once; at most 1,000."),
    prior=(
        "`{STUDY: WEIGHT}`",
        "Studies whose trials the search begins with, and the share of them that counts, in (0, 1]: "
        "[warm start](objectives.md#warm-start). At most 16.",
    ),
    sampler=("text", "Who searches, or `auto`: [samplers](search.md)."),
    pruner=(
        "`{RULE: {...}}`, [one of these](#pruner)",
        "Which trials end early, and how long a trial trains: [pruning](pruning.md). A study with a task needs one, or "
        "a population.",
    ),
    population=(
        "[mapping](#population)",
        "[Population-based training](pruning.md#population-based-training), in place of a pruner.",
    ),
    surrogate=(
        "[mapping](#surrogate)",
        "How small a model is tuned in the target's place. Left out: the target itself.",
    ),
    trials=("whole number", "Search trials, at most 1,000,000. A grid has as many as points."),
    parallelism=("whole number", "Search trials that may run at once; all of them in a population."),
    seed=("whole number", "Of the search, the data order and the trials; 0 or more."),
    stopping=("[mapping](#stopping)", "What [ends the study](studies.md#when-it-ends) before all trials have."),
    retries=(
        "whole number",
        "How often a trial is run again whose worker or caller was lost, or gave its bundle up. Left out: 3.",
    ),
    failure_budget=("whole number", "With so many failed trials the study fails. 0: any number may fail."),
    trial_timeout_seconds=(
        "seconds",
        "Of a study that its callers drive: silent for so long, a caller is lost and its trial is "
        "[given again](own-loop.md#when-a-caller-dies). 0: never.",
    ),
    tags=(
        "mapping of texts to texts",
        "To [find it by](studies.md#finding-things-again): at most 64, keys of a-z, 0-9, `_`, `.` and `-`.",
    ),
)
