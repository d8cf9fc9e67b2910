"""Values become messages and the same values again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2
from hydro.coordinator import messages
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning_rules import (
    AshaPruning,
    HyperbandPruning,
    LearningCurvePruning,
    MedianPruning,
    NoPruning,
    PatiencePruning,
    PercentilePruning,
    SuccessiveHalvingPruning,
    ThresholdPruning,
    TimedPruning,
)
from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    ConstantDomain,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
)
from hydro.coordinator.server import convert, pages
from hydro.coordinator.storage import documents
from hydro.coordinator.study import (
    Check,
    Goal,
    Objective,
    Population,
    Sampler,
    Study,
    StudySpec,
    StudyState,
    Task,
    Verification,
)
from hydro.kit.errors import InvalidArgument

whole = st.integers(-(2**63), 2**63 - 1)
real = st.floats(allow_nan=False)
values = st.one_of(real, whole, st.booleans(), st.text())
domains = st.one_of(
    st.builds(FloatDomain, real, real, st.booleans(), real),
    st.builds(IntDomain, whole, whole, st.booleans(), st.integers(1, 9)),
    st.builds(CategoricalDomain, st.lists(values, min_size=1, max_size=4).map(tuple)),
    st.builds(ConstantDomain, values),
)
conditions = st.builds(Condition, st.text(), st.lists(values, max_size=3).map(tuple))
parameters = st.builds(Parameter, st.text(), domains, st.lists(conditions, max_size=2).map(tuple), st.booleans())
spaces = st.builds(SearchSpace, st.lists(parameters, max_size=4).map(tuple))
counts = st.integers(0, 2**31 - 1)
patient = st.one_of(
    st.builds(MedianPruning, counts, counts, counts),
    st.builds(PercentilePruning, real, counts, counts, counts),
    st.builds(ThresholdPruning, real | st.none(), real | st.none(), counts, counts),
    st.builds(LearningCurvePruning, counts, counts, counts, real),
)
asha = st.builds(AshaPruning, counts, counts)
halving = st.builds(SuccessiveHalvingPruning, counts, counts, counts, counts)
timeable = patient.filter(lambda rule: not isinstance(rule, LearningCurvePruning))
prunings = st.one_of(
    patient,
    asha,
    halving,
    st.builds(NoPruning, counts),
    st.builds(HyperbandPruning, counts, counts),
    st.builds(PatiencePruning, st.none() | patient, counts, counts, real),
    st.builds(TimedPruning, timeable | asha | halving, real, real),
    st.builds(TimedPruning, st.builds(PatiencePruning, st.none() | timeable, counts, counts, real), real, real),
)
specs = st.builds(
    StudySpec,
    task=st.none() | st.builds(Task, st.text(), st.text(), st.text()),
    search_space=spaces,
    objective=st.builds(Objective, st.text(), st.sampled_from(Goal)),
    sampler=st.sampled_from([each for each in Sampler if each is not Sampler.EXTERNAL]),
    pruning=prunings,
    max_steps=whole,
    surrogate_width=real,
    surrogate_depth=real,
    max_trials=counts,
    parallelism=counts,
    seed=whole,
    population=st.none() | st.builds(Population, counts, real, real, real),
    verification=st.builds(Verification, st.lists(st.sampled_from(Check), unique=True).map(tuple), st.booleans()),
)


def typed(space):
    """With the types, because 1 == 1.0 == True."""
    return repr(space)


@given(spaces)
def test_a_search_space_crosses_the_wire(space):
    assert typed(messages.search_space_of(messages.search_space_message(space))) == typed(space)


@given(spaces)
def test_a_search_space_crosses_the_database(space):
    import json

    document = json.loads(json.dumps(documents.search_space_document(space)))
    assert typed(documents.search_space_of(document)) == typed(space)


@given(prunings)
def test_a_pruning_rule_crosses_the_database(rule):
    import json

    document = json.loads(json.dumps(documents.pruning_document(rule)))
    assert typed(documents.pruning_of(document)) == typed(rule)


def test_patience_around_a_rule_that_cannot_wait_is_refused_by_name():
    wrapped = study_pb2.Pruner(asha=study_pb2.AshaPruner(min_steps=1, eta=2))
    message = study_pb2.Study(pruner=study_pb2.Pruner(patience=study_pb2.PatiencePruner(rule=wrapped)))
    _, violations = convert.study_spec(message)
    (said,) = [each.description for each in violations if each.field == "study.pruner.patience.rule"]
    assert said.startswith("is asha: give median")


@given(specs)
def test_a_study_crosses_the_wire(spec):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    study = Study(StudyName("p", "s"), spec, StudyState.SEARCHING, "", (), None, None, 1, 1, "0" * 32, 0, now, None)
    read, violations = convert.study_spec(convert.study_message(study))
    assert typed(read) == typed(spec) and violations == []


def test_what_is_not_set_is_named():
    _, violations = convert.study_spec(study_pb2.Study(search_space={"parameters": [{"name": "lr"}]}))
    fields = [violation.field for violation in violations]
    assert fields == ["study.objective.goal", "study.sampler", "study.search_space.parameters[0]"]


def test_an_outcome_that_is_not_set_is_refused():
    for request in ({}, {"pruned": False}):
        with pytest.raises(InvalidArgument):
            convert.outcome(study_service_pb2.CompleteTrialRequest(**request))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00")))
def test_a_page_token_leads_back_to_its_item(last):
    assert pages.last_of(pages.token_of(last)) == last


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "yesterday"])
def test_the_page_behind_no_study_is_refused(time):
    with pytest.raises(InvalidArgument):
        pages.study_place_of(pages.token_of(f"{time} digits"))


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_a_page_token_or_refused(token):
    for read in (pages.last_of, pages.place_of, pages.study_place_of):
        try:
            read(token)
        except InvalidArgument as error:
            assert error.violations[0].field == "page_token"
