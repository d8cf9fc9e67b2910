"""Which sampler a study gets, why, and what is refused before anything is stored."""

from dataclasses import replace

import pytest

from hydro.coordinator import sampling
from hydro.coordinator.pruning_rules import AshaPruning, NoPruning
from hydro.coordinator.sampling import settled, validate_sampling
from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
)
from hydro.coordinator.study import Constraint, Goal, Objective, Sampler, StudySpec

LR, WIDTH = Parameter("lr", FloatDomain(1e-4, 1.0, log=True)), Parameter("width", IntDomain(8, 512))
KIND = Parameter("kind", CategoricalDomain(("a", "b")))
DEPTH = Parameter("depth", IntDomain(1, 3), (Condition("kind", ("b",)),))


def spec(*parameters, sampler=Sampler.AUTO, trials=100, parallelism=4, **changes):
    plain = StudySpec(
        task=None,
        search_space=SearchSpace(parameters),
        objective=Objective("loss", Goal.MINIMIZE),
        sampler=sampler,
        pruning=NoPruning(),
        max_steps=0,
        surrogate_width=1.0,
        max_trials=trials,
        parallelism=parallelism,
        seed=0,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    "asked, sampler, reason",
    [
        (spec(KIND, DEPTH), Sampler.GRID, "4 points"),
        (spec(LR, trials=8, parallelism=8), Sampler.QUASI_RANDOM, "all 8 trials may run at once"),
        (spec(LR, pruning=AshaPruning(1, 2), max_steps=8), Sampler.TPE, "pruned"),
        (spec(LR, WIDTH), Sampler.GP, "2 numbers, 100 trials and 4 at once"),
        (spec(LR, WIDTH, trials=400), Sampler.TPE, "TPE takes every kind"),
        (spec(LR, KIND, DEPTH), Sampler.TPE, "conditions"),
        (spec(LR, WIDTH, trials=2_000), Sampler.CMA_ES, "2000 trials of 2 numbers"),
        (spec(LR, further_objectives=(Objective("size", Goal.MINIMIZE),)), Sampler.TPE, "several objectives"),
        (spec(LR, trials=900, further_objectives=(Objective("size", Goal.MINIMIZE),)), Sampler.NSGA2, "front"),
    ],
)
def test_auto_chooses_by_shape_budget_and_parallelism_and_says_why(asked, sampler, reason):
    found = settled(asked)
    assert found.sampler is sampler
    assert found.sampler_reason.startswith(f"auto chose {sampler.value}: ") and reason in found.sampler_reason
    assert validate_sampling(found) == []


def test_auto_does_without_a_gaussian_process_where_torch_is_not_installed(monkeypatch):
    monkeypatch.setattr(sampling, "find_spec", lambda name: None)
    assert settled(spec(LR, WIDTH)).sampler is Sampler.TPE
    (violation,) = validate_sampling(spec(LR, sampler=Sampler.GP))
    assert violation.field == "study.sampler" and "hydro-coordinator[gp]" in violation.description


def test_a_grid_has_as_many_trials_as_points_and_a_larger_one_says_so():
    assert settled(spec(KIND, DEPTH, sampler=Sampler.GRID)).max_trials == 4
    larger = settled(spec(KIND, DEPTH, sampler=Sampler.GRID, trials=3))
    assert larger.max_trials == 3 and "4 points, more than the 3 trials" in larger.sampler_reason


def test_a_grid_of_a_continuum_is_refused_with_the_parameter_that_has_one():
    (violation,) = validate_sampling(spec(KIND, LR, sampler=Sampler.GRID))
    assert violation.field == "study.search_space.parameters[1].float_domain.step"
    assert "'lr'" in violation.description


def test_cma_es_says_what_it_leaves_to_chance_and_is_refused_where_that_is_everything():
    assert settled(spec(LR, KIND, DEPTH, sampler=Sampler.CMA_ES)).sampler_reason.endswith(
        "drawn at random: kind (categorical), depth (conditional)"
    )
    (violation,) = validate_sampling(spec(KIND, DEPTH, sampler=Sampler.CMA_ES))
    assert violation.field == "study.sampler"


LIMITED = (Constraint("memory_bytes", max=8e9), Constraint("accuracy", min=0.5))
TWO = (Objective("size", Goal.MINIMIZE),)


@pytest.mark.parametrize("name", ["hyperopt", "hyperopt-anneal", ""])
def test_a_sampler_that_does_not_see_constraints_says_so_by_name_and_says_which(name):
    sampler = Sampler.EXTERNAL if name else Sampler.CMA_ES
    found = settled(spec(LR, sampler=sampler, external_sampler=name, constraints=LIMITED)).sampler_reason
    assert found.startswith(f"{name or 'CMA_ES'} does not see the constraints (memory_bytes, accuracy)")
    assert not settled(spec(LR, sampler=sampler, external_sampler=name)).sampler_reason


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.GP, Sampler.NSGA2])
def test_a_sampler_that_searches_by_constraints_has_nothing_to_say_of_them(sampler):
    assert settled(spec(LR, sampler=sampler, constraints=LIMITED)).sampler_reason == ""


def test_auto_chooses_no_sampler_that_does_not_see_constraints():
    assert settled(spec(LR, WIDTH, trials=2_000, constraints=LIMITED)).sampler is Sampler.TPE


def test_a_backend_of_another_distribution_says_itself_what_it_searches_by():
    for changes in ({"constraints": LIMITED}, {"further_objectives": TWO}):
        found = settled(spec(LR, sampler=Sampler.EXTERNAL, external_sampler="mine", **changes)).sampler_reason
        assert found == "whether mine searches by all objectives and constraints is its own matter"


@pytest.mark.parametrize("name", ["hyperopt", ""])
def test_a_sampler_of_one_objective_is_refused_with_several(name):
    sampler = Sampler.EXTERNAL if name else Sampler.CMA_ES
    (violation,) = validate_sampling(spec(LR, sampler=sampler, external_sampler=name, further_objectives=TWO))
    assert violation.field == ("study.external_sampler" if name else "study.sampler")
    assert "takes one objective" in violation.description


def test_a_sampler_that_learns_nothing_from_pruned_trials_says_so():
    pruned = spec(LR, sampler=Sampler.NSGA2, pruning=AshaPruning(1, 2), max_steps=8)
    assert "learns nothing from pruned trials" in settled(pruned).sampler_reason


def test_a_backend_that_is_not_installed_is_refused_by_its_name():
    (violation,) = validate_sampling(spec(LR, sampler=Sampler.EXTERNAL, external_sampler="annealing"))
    assert violation.field == "study.external_sampler" and "'annealing'" in violation.description
