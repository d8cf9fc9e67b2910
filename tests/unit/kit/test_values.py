"""Scalars cross the wire as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.api.type.v1 import search_space_pb2
from hydro.kit.values import value_message, value_messages, value_of, values_of

scalars = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text())


@given(scalars)
def test_a_scalar_survives_the_wire_with_its_type(value):
    sent = value_message(value).SerializeToString()
    read = value_of(search_space_pb2.Value.FromString(sent))
    assert type(read) is type(value)
    assert read == value


@pytest.mark.parametrize("value", [True, 1, 1.0, "1"])
def test_equal_scalars_of_different_types_stay_apart(value):
    assert repr(value_of(value_message(value))) == repr(value)


def test_a_value_that_is_not_set_is_an_empty_text():
    assert value_of(search_space_pb2.Value()) == ""


@given(st.dictionaries(st.text(), scalars))
def test_scalars_by_name_come_back_in_alphabetical_order(values):
    assert list(values_of(value_messages(values)).items()) == sorted(values.items(), key=lambda item: item[0])
