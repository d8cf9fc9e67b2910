"""The factors are beside the model, so whatever torch does to models leaves them whole."""

import copy
import io
import pickle

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from hydro.kit.errors import FailedPrecondition
from hydro.tuner.shrinking.shrink import shrink

torch.set_num_threads(1)

ROWS, LABELS = torch.randn(8, 6), torch.randint(3, (8,))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(F.relu(self.second(F.relu(self.first(x)))))


@pytest.fixture(scope="module")
def shrunk():
    torch.manual_seed(0)
    return shrink(Net(), (ROWS,), 1 / 4)


def train(shrunk, model, call=None, optimizer=None, steps=3):
    """The model's weights after a few steps with the parametrization."""
    if optimizer is None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        shrunk.parametrization.apply(optimizer, model)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy((model if call is None else call)(ROWS), LABELS).backward()
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.fixture(scope="module")
def expected(shrunk):
    return train(shrunk, copy.deepcopy(shrunk.model))


def test_a_deep_copy_trains_alike(shrunk, expected):
    twin = copy.deepcopy(shrunk)
    torch.testing.assert_close(train(twin, twin.model), expected)


def test_a_pickle_trains_alike(shrunk, expected):
    twin = pickle.loads(pickle.dumps(shrunk))
    torch.testing.assert_close(train(twin, twin.model), expected)


def test_a_state_dict_loads_into_another_surrogate(shrunk, expected):
    stored = io.BytesIO()
    torch.save(shrunk.model.state_dict(), stored)
    other = shrink(Net(), (ROWS,), 1 / 4, solution=shrunk.solution)
    other.model.load_state_dict(torch.load(io.BytesIO(stored.getvalue())))
    torch.testing.assert_close(train(other, other.model), expected)


def test_it_trains_alike_when_compiled(shrunk, expected):
    model = copy.deepcopy(shrunk.model)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(train(shrunk, model, compiled), expected)


def test_it_trains_alike_when_data_parallel(shrunk, expected, tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = DistributedDataParallel(copy.deepcopy(shrunk.model))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        shrunk.parametrization.apply(optimizer, model)
        torch.testing.assert_close(train(shrunk, model.module, model, optimizer), expected)
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copied_optimizer_keeps_the_factors(shrunk, expected, copied):
    model = copy.deepcopy(shrunk.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    shrunk.parametrization.apply(optimizer, model)
    train(shrunk, model, optimizer=optimizer, steps=1)
    model, optimizer = copied((model, optimizer))
    torch.testing.assert_close(train(shrunk, model, optimizer=optimizer, steps=2), expected)


def test_an_optimizers_state_dict_is_that_of_the_users_own(shrunk, expected):
    model = copy.deepcopy(shrunk.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    shrunk.parametrization.apply(optimizer, model)
    train(shrunk, model, optimizer=optimizer, steps=1)
    fresh = torch.optim.AdamW(model.parameters(), lr=1.0)
    fresh.load_state_dict(optimizer.state_dict())
    shrunk.parametrization.apply(fresh, model)
    torch.testing.assert_close(train(shrunk, model, optimizer=fresh, steps=2), expected)


def test_parameters_that_come_to_an_optimizer_later_are_not_stepped_without_factors(shrunk):
    optimizer = torch.optim.SGD([shrunk.model.first.weight], lr=0.1)
    shrunk.parametrization.apply(optimizer, shrunk.model)
    optimizer.add_param_group({"params": [shrunk.model.head.weight]})
    with pytest.raises(FailedPrecondition, match="after the parametrization was applied"):
        optimizer.step()
