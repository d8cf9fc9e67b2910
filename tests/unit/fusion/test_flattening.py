"""Arguments are taken apart as the trace nests them, and otherwise refused."""

from collections import OrderedDict

import pytest
import torch
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.flattening import flatten_as

X = torch.ones(2)


@pytest.mark.parametrize(
    "tree",
    [
        ((X,), {}),
        (((X, 2), [X, None]), {"b": X, "a": (1.5, "text")}),
        ((OrderedDict(a=X),), {}),
        ((torch.Size([2, 3]), X), {}),
    ],
)
def test_leaves_come_in_the_order_of_pytree(tree):
    leaves, spec = pytree.tree_flatten(tree)
    assert [id(leaf) for leaf in flatten_as(tree, spec)] == [id(leaf) for leaf in leaves]


@pytest.mark.parametrize("given", [((X, X), {}), (([X],), {}), (((X,),), {}), ((X,), {"mask": X}), (({"a": X},), {})])
def test_arguments_nested_otherwise_are_refused(given):
    with pytest.raises(ValueError, match="the trace has"):
        flatten_as(given, pytree.tree_structure(((X,), {})))


def test_a_dict_with_its_keys_in_another_order_is_refused_not_mixed_up():
    spec = pytree.tree_structure({"a": 1, "b": 2})
    assert flatten_as({"a": 1, "b": 2}, spec) == [1, 2]
    with pytest.raises(ValueError, match="the trace has"):
        flatten_as({"b": 2, "a": 1}, spec)
