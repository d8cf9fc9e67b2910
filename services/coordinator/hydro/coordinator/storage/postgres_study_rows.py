"""Between rows and studies."""

from __future__ import annotations

from typing import Any

from hydro.coordinator.command import Command
from hydro.coordinator.names import StudyName, SurrogateName
from hydro.coordinator.storage.documents import (
    clean,
    constraints_document,
    constraints_of,
    limits_document,
    limits_of,
    objectives_document,
    objectives_of,
    population_document,
    population_of,
    priors_document,
    priors_of,
    pruning_document,
    pruning_of,
    result_of,
    search_space_document,
    search_space_of,
    surrogate_depth_of,
    verification_document,
    verification_of,
    work_document,
    work_of,
)
from hydro.coordinator.storage.trial_values import PriorTrial
from hydro.coordinator.study import (
    Goal,
    Objective,
    Sampler,
    Study,
    StudySpec,
    StudyState,
    Task,
)


def study_columns(spec: StudySpec) -> dict[str, Any]:
    """What a study's row has of its spec."""
    return {
        "task": work_document(spec.task or spec.command),
        "search_space": search_space_document(spec.search_space),
        "objective_metric": spec.objective.metric,
        "objective_goal": spec.objective.goal.value,
        "further_objectives": objectives_document(spec.further_objectives),
        "constraints": constraints_document(spec.constraints),
        "known_points": [dict(each) for each in spec.known_points],
        "priors": priors_document(spec.priors),
        "population": population_document(spec.population),
        "sampler": spec.sampler.value,
        "sampling": {"external": spec.external_sampler, "reason": clean(spec.sampler_reason)},
        "pruning": pruning_document(spec.pruning),
        "max_steps": spec.max_steps,
        "surrogate_width": spec.surrogate_width,
        "verification": verification_document(spec.verification, spec.surrogate_depth),
        "max_trials": spec.max_trials,
        "parallelism": spec.parallelism,
        "seed": spec.seed,
        "limits": limits_document(spec.stopping, spec.endurance),
    }


def prior_trial_of(row: Any) -> PriorTrial:
    """The prior trial of a row."""
    result = result_of(row.result)
    assert result is not None  # the column takes no NULL
    return PriorTrial(row.number, row.hyperparameters, result, row.steps)


def study_of(row: Any) -> Study:
    """The study of a row."""
    name = StudyName.parse(row.name)
    work = work_of(row.task)
    stopping, endurance = limits_of(row.limits)
    return Study(
        name=name,
        spec=StudySpec(
            task=work if isinstance(work, Task) else None,
            command=work if isinstance(work, Command) else None,
            search_space=search_space_of(row.search_space),
            objective=Objective(row.objective_metric, Goal(row.objective_goal)),
            sampler=Sampler(row.sampler),
            pruning=pruning_of(row.pruning),
            max_steps=row.max_steps,
            surrogate_width=row.surrogate_width,
            max_trials=row.max_trials,
            parallelism=row.parallelism,
            seed=row.seed,
            verification=verification_of(row.verification),
            surrogate_depth=surrogate_depth_of(row.verification),
            external_sampler=row.sampling.get("external", ""),
            sampler_reason=row.sampling.get("reason", ""),
            further_objectives=objectives_of(row.further_objectives),
            constraints=constraints_of(row.constraints),
            known_points=tuple(row.known_points),
            priors=priors_of(row.priors),
            stopping=stopping,
            endurance=endurance,
            population=population_of(row.population),
        ),
        state=StudyState(row.state),
        state_reason=row.state_reason,
        warnings=tuple(row.warnings),
        surrogate=None if row.surrogate is None else SurrogateName.parse(row.surrogate),
        best_trial=None if row.best_trial is None else name.trial(row.best_trial),
        version=row.version,
        revision=row.revision,
        uid=row.uid,
        next_trial=row.next_trial,
        create_time=row.create_time,
        end_time=row.end_time,
        tags=row.tags,
    )
