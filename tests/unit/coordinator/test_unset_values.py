"""A value that nobody has set is refused with its path, wherever callers give values."""

import pytest

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2
from hydro.api.type.v1 import search_space_pb2 as space_pb2
from hydro.coordinator.server.convert import study_spec
from hydro.coordinator.server.unset_values import check_values
from hydro.kit.errors import InvalidArgument

UNSET, ONE = space_pb2.Value(), space_pb2.Value(int_value=1)


def test_a_study_is_refused_with_the_path_of_each_value_that_is_not_set():
    parameters = [
        space_pb2.Parameter(name="a", categorical_domain=space_pb2.CategoricalDomain(values=[ONE, UNSET])),
        space_pb2.Parameter(name="b", constant_domain=space_pb2.ConstantDomain()),
        space_pb2.Parameter(
            name="c",
            constant_domain=space_pb2.ConstantDomain(value=space_pb2.Value(string_value="")),
            conditions=[space_pb2.Condition(parent="a", values=[UNSET])],
        ),
    ]
    study = study_pb2.Study(search_space=space_pb2.SearchSpace(parameters=parameters))
    study.known_points.add().hyperparameters["a"].CopyFrom(ONE)
    study.known_points.add().hyperparameters["a"].CopyFrom(UNSET)
    _, violations = study_spec(study)
    assert [each.field for each in violations if "there is no null" in each.description] == [
        "study.search_space.parameters[0].categorical_domain.values[1]",
        "study.search_space.parameters[1].constant_domain.value",
        "study.search_space.parameters[2].conditions[0].values[0]",
        "study.known_points[1].hyperparameters['a']",
    ]


def test_calls_with_hyperparameters_are_refused_in_the_same_way():
    request = study_service_pb2.TrainTargetRequest(hyperparameters={"a": ONE}, target_hyperparameters={"b": UNSET})
    with pytest.raises(InvalidArgument) as caught:
        check_values(request, "hyperparameters", "target_hyperparameters")
    assert [each.field for each in caught.value.violations] == ["target_hyperparameters['b']"]
    enqueue = study_service_pb2.EnqueueTrialsRequest(
        known_points=[study_pb2.KnownPoint(hyperparameters={"a": UNSET, "b": ONE})]
    )
    with pytest.raises(InvalidArgument) as caught:
        check_values(enqueue, "known_points")
    assert [each.field for each in caught.value.violations] == ["known_points[0].hyperparameters['a']"]


def test_values_that_are_set_pass_also_where_they_are_empty():
    request = study_service_pb2.TrainTargetRequest(
        hyperparameters={"a": space_pb2.Value(bool_value=False), "b": space_pb2.Value(string_value="")}
    )
    check_values(request, "hyperparameters", "target_hyperparameters")
