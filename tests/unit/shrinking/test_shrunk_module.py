import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.kit.errors import InvalidArgument
from hydro.tuner.shrinking.classification import TensorClass
from hydro.tuner.shrinking.shrink import shrink
from hydro.tuner.shrinking.sizes import WidthTooSmall
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.tracing import NotTraceable, trace

torch.set_num_threads(1)


class Net(nn.Module):
    def __init__(self, channels=16):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(channels, 10)

    def forward(self, x, scale=1.0):
        return self.head(self.dropout(F.relu(self.norm(self.stem(x)))).mean((2, 3))) * scale

    def decayed(self):
        return [parameter for parameter in self.parameters() if parameter.ndim > 1]


class Sums(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(4, 16)
        self.free = nn.Linear(4, 16)
        self.down = nn.Linear(16, 2)

    def forward(self, x):
        first, second = torch.frexp(self.up(x))
        return self.down(first + second) + self.down(self.free(x))


IMAGES = torch.randn(4, 3, 8, 8)


@pytest.fixture(scope="module")
def shrunk():
    torch.manual_seed(0)
    return shrink(Net(), (IMAGES,), 1 / 8)


@pytest.fixture
def model(shrunk):
    return copy.deepcopy(shrunk.model).train()


def test_names_are_the_targets_and_shapes_the_surrogates(model):
    assert list(model.state_dict()) == list(Net().state_dict())
    shapes = {name: tuple(each.shape) for name, each in model.state_dict().items()}
    assert shapes["stem.weight"] == (2, 3, 3, 3)
    assert shapes["norm.running_var"] == (2,)
    assert shapes["head.weight"] == (10, 2)


def test_types_and_methods_are_the_targets(model):
    assert isinstance(model.norm, nn.BatchNorm2d)
    assert {id(each) for each in model.decayed()} == {id(model.stem.weight), id(model.head.weight)}


def test_batch_norm_and_dropout_go_with_the_mode(model):
    model.train()
    assert not torch.equal(model(IMAGES), model(IMAGES))
    assert int(model.norm.num_batches_tracked) == 2
    model.eval()
    assert torch.equal(model(IMAGES), model(IMAGES))
    assert int(model.norm.num_batches_tracked) == 2


def test_other_shapes_of_inputs_are_traced_when_they_come(model):
    assert model(torch.randn(7, 3, 16, 16)).shape == (7, 10)
    assert model.eval()(torch.randn(1, 3, 8, 8)).shape == (1, 10)


def test_inputs_by_name_and_numbers_count_as_inputs(model):
    model.eval()
    assert torch.allclose(model(IMAGES, scale=3.0), 3 * model(x=IMAGES))


def test_every_parameter_gets_a_gradient(model):
    model(IMAGES).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_copy_is_of_its_own(model):
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.head.weight.zero_()
        twin.head.bias.zero_()
    assert torch.equal(twin(IMAGES), torch.zeros(4, 10))
    assert not torch.equal(model(IMAGES), torch.zeros(4, 10))


def test_a_pickle_computes_the_same(model):
    model.eval()
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(IMAGES), model(IMAGES))


def test_it_follows_a_change_of_type(model):
    model.double().eval()
    assert model(IMAGES.double()).dtype == torch.float64


def test_it_can_be_exported_once_prepared(model):
    traced = trace(model, (IMAGES,), train=True)
    assert sorted(traced.parameters.values()) == sorted(name for name, _ in model.named_parameters())
    assert int(model.norm.num_batches_tracked) == 0


def test_an_export_without_preparation_says_what_to_do(shrunk):
    fresh = pickle.loads(pickle.dumps(shrunk.model))
    with pytest.raises(NotTraceable, match="call it with such inputs before exporting"):
        torch.export.export(fresh, (IMAGES,), strict=False)
    fresh.prepare(IMAGES)
    torch.export.export(fresh, (IMAGES,), strict=False)


def test_fresh_values_are_a_function_of_the_seed(shrunk):
    shrunk.initialize(1)
    first = copy.deepcopy(shrunk.model.state_dict())
    shrunk.initialize(2)
    assert not torch.equal(first["stem.weight"], shrunk.model.stem.weight)
    shrunk.initialize(1)
    assert all(torch.equal(value, first[name]) for name, value in shrunk.model.state_dict().items())


def test_fresh_buffers_are_the_targets(shrunk):
    shrunk.model.norm.running_var.fill_(7)
    shrunk.initialize(0)
    assert shrunk.model.norm.running_var.tolist() == [1, 1]
    assert int(shrunk.model.norm.num_batches_tracked) == 0


def test_the_target_stays_as_it_is():
    target = Net()
    before = copy.deepcopy(target.state_dict())
    shrink(target, (IMAGES,), 1 / 4)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_a_solution_survives_json_and_is_used_again(shrunk):
    solution = Solution.from_json(shrunk.solution.to_json())
    assert solution == shrunk.solution
    again = shrink(Net(), (IMAGES,), 1 / 8, solution=solution)
    assert again.solution is solution
    assert torch.isfinite(again.model(IMAGES)).all()


def test_a_solution_works_on_a_target_without_memory(shrunk):
    with torch.device("meta"):
        target = Net()
    again = shrink(target, (IMAGES,), 1 / 8, solution=shrunk.solution)
    shrunk.initialize(5)
    again.initialize(5)
    assert torch.equal(again.model.eval()(IMAGES), copy.deepcopy(shrunk.model).eval()(IMAGES))


def test_a_solution_of_another_model_is_not_used(shrunk):
    again = shrink(Net(channels=32), (IMAGES,), 1 / 8, solution=shrunk.solution)
    assert again.solution.by_name["stem.weight"].shape == (4, 3, 3, 3)


def test_a_width_that_leaves_no_channel_names_the_tensor():
    with pytest.raises(
        WidthTooSmall, match=r"its axis \d, the widest of all, has \d+.*smallest width that works is 0\.\d+"
    ):
        shrink(Net(), (IMAGES,), 1 / 100)


@pytest.mark.parametrize("width", [0, -1, 1.5])
def test_a_width_outside_its_range_is_refused(width):
    with pytest.raises(InvalidArgument, match=r"width: .* is not in \(0, 1\]"):
        shrink(Net(), (IMAGES,), width)


def test_an_op_without_a_rule_keeps_what_it_touches_and_is_reported_with_its_line():
    model = shrink(Sums(), (torch.ones(2, 4),), 1 / 4)
    assert model.solution.by_name["up.weight"].shape == (16, 4)
    assert model.report.warnings[0].startswith("not shrunk because of aten.frexp.Tensor at test_shrunk_module.py:")
    assert "up.weight: aten.frexp" in str(model.report)


def test_the_report_has_a_row_for_every_parameter(shrunk):
    report = str(shrunk.report)
    assert "width 0.125:" in report
    row = next(line for line in report.splitlines() if line.startswith("head.weight"))
    assert row.split()[:11] == ["head.weight", "10x16", "10x2", "readout", "0.125", "1", "8", "1", "8", "0.125", "1"]


def test_at_full_width_nothing_changes():
    torch.manual_seed(0)
    target = Net().eval()
    same = shrink(target, (IMAGES,), 1.0)
    same.model.load_state_dict(target.state_dict())
    assert torch.equal(same.model.eval()(IMAGES), target(IMAGES))
    assert {each.classified.tensor_class for each in same.solution.tensors} == {TensorClass.FIXED, TensorClass.BUFFER}
