"""Hyperparameters with conditions, from the request to values under which they are active."""

from hydro.api.tuner.v1 import tuner_service_pb2
from hydro.kit.values import value_message
from hydro.tuner.planning.activation import activated
from hydro.tuner.server.convert import build_request

CONDITIONS = {"heads": {"mixing": ("linear", "attention")}, "bias": {"heads": (4, 8), "layers": (2,)}}
DEFAULTS = {"mixing": "none", "heads": 8, "layers": 1, "bias": False}


def test_parents_get_values_under_which_a_hyperparameter_is_active():
    assert activated("mixing", DEFAULTS, CONDITIONS) == DEFAULTS
    assert activated("heads", DEFAULTS, CONDITIONS) == {**DEFAULTS, "mixing": "linear"}


def test_parents_of_parents_do_too_and_what_suits_stays():
    assert activated("bias", DEFAULTS, CONDITIONS) == {**DEFAULTS, "mixing": "linear", "layers": 2}
    attending = {**DEFAULTS, "mixing": "attention", "heads": 2}
    assert activated("bias", attending, CONDITIONS) == {**attending, "heads": 4, "layers": 2}


def test_a_value_of_another_type_does_not_suit():
    assert activated("depth", {"deep": 1}, {"depth": {"deep": (True,)}}) == {"deep": True}


def test_equal_numbers_suit_as_they_do_where_trials_are_made():
    assert activated("depth", {"deep": 1}, {"depth": {"deep": (1.0,)}}) == {"deep": 1}


def test_a_hyperparameter_whose_conditions_contradict_each_other_changes_nothing():
    assert activated("depth", {"deep": 1}, {"depth": {"deep": ()}}) == {"deep": 1}


def test_a_request_has_the_conditions_of_its_search_space():
    request = tuner_service_pb2.CreateSurrogateRequest(parent="projects/p", surrogate_id="s")
    parameters = request.search_space.parameters
    parameters.add(name="mixing").categorical_domain.values.extend(map(value_message, ("none", "linear", "attention")))
    heads = parameters.add(name="heads")
    for values in (("linear", "attention"), ("attention", "none")):
        heads.conditions.add(parent="mixing", values=map(value_message, values))
    for values in ((1, 2), (1.0, 3.0)):
        heads.conditions.add(parent="layers", values=map(value_message, values))
    assert build_request(request).conditions == {"heads": {"mixing": ("attention",), "layers": (1,)}}
