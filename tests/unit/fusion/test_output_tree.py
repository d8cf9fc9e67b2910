"""What a module gives is taken apart into tensors, and put together around others."""

import copy
import pickle

import pytest
import torch
from torch import nn

from hydro.tuner.fusion.fuse import fuse
from hydro.tuner.fusion.report import Tier
from hydro.tuner.output_tree import open_output


class Cache:
    """An object that pytree does not know, with tensors somewhere inside."""

    def __init__(self, *keys):
        self.layers = [{"key": key, "length": len(key)} for key in keys]


class Caching(nn.Module):
    """Gives its output, and a cache of what it computed on the way."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x):
        hidden = self.up(x).relu()
        return {"output": self.down(hidden), "cache": Cache(hidden, hidden.sum(1)), "name": "caching"}


class Branching(Caching):
    """Cannot be exported."""

    def forward(self, x):
        given = super().forward(x)
        return given if given["output"].sum() > -1e9 else {}


def test_tensors_inside_an_object_are_found_and_replaced():
    cache = Cache(torch.ones(2), torch.zeros(3))
    tensors, tree = open_output((cache, torch.ones(1), "text"))
    assert [len(each) for each in tensors] == [2, 3, 1]
    rebuilt, last, text = tree.rebuild([each + 5 for each in tensors])
    assert isinstance(rebuilt, Cache)
    assert torch.equal(rebuilt.layers[0]["key"], torch.full((2,), 6.0))
    assert (rebuilt.layers[1]["length"], last.item(), text) == (3, 6.0, "text")


def test_an_output_of_containers_alone_needs_no_object():
    assert not open_output({"a": [torch.ones(1), None, 3], "b": (True, "x")})[1].has_objects


def test_an_object_that_cannot_be_pickled_is_refused():
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        open_output(type("Local", (), {"__init__": lambda self: setattr(self, "tensor", torch.ones(1))})())


@pytest.mark.parametrize("kind", [Caching, Branching])
def test_every_tensor_of_the_models_own_output_has_a_lane_axis(kind):
    models, x = [kind() for _ in range(3)], torch.randn(4, 3)
    grouped = fuse(models, (x,))
    given = grouped(x)
    assert (grouped.report.count(Tier.SEPARATE) > 0) == (kind is Branching)
    assert (type(given["cache"]), given["name"]) == (Cache, "caching")
    for lane, model in enumerate(copy.deepcopy(models)):
        own = model(x)
        assert torch.allclose(given["output"][lane], own["output"], atol=1e-6)
        for one, other in zip(given["cache"].layers, own["cache"].layers, strict=True):
            assert torch.allclose(one["key"][lane], other["key"], atol=1e-6)
