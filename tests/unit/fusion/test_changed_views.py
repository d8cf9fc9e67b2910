"""In-place changes that other views show: a fused model sees them as the model alone does."""

import pytest
import torch
from torch import nn

from hydro.tuner.fusion.lanes import LaneTensors
from hydro.tuner.fusion.lower import NotFusible, lower
from hydro.tuner.fusion.report import Tier
from hydro.tuner.tracing import trace

INPUT = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Changes(nn.Module):
    """A layer whose output a function changes, and a buffer."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(6, 8), function
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        return self.function(self, self.layer(x))


def select(module, y):
    y[0].mul_(2)
    return y


def part_of_a_part(module, y):
    y[1:3][:, ::2].add_(1)
    return y


def another_view_taken_before(module, y):
    column, first = y[:, 3], y[0]
    y[:, 2:5] *= 3
    return column.sum() + first, y.view(-1)


def split(module, y):
    weights = y.detach().clone()  # autograd refuses changes of parts that require gradients
    left, right = weights.split([3, 5], dim=1)
    weights.unbind(0)[1].mul_(4)
    left.sigmoid_()
    right.zero_()
    return y * weights, left * y.sum()


def turned(module, y):
    y.t()[1].fill_(2.0)
    y.permute(1, 0)[2:4].relu_()
    return y


def reshaped(module, y):
    y.view(2, 2, 8)[1].neg_()
    y.unsqueeze(0).squeeze(0)[3].copy_(y[0])
    return y


def twice(module, y):
    y.mul_(2)[1].add_(1)
    y[1].mul_(3)
    return y * 1, y[1]


def masks(module, y):
    mask = y.new_zeros(4, 8)
    for row, part in enumerate((slice(0, 3), slice(3, 5), slice(5, None))):
        mask[row, part] = row + 1
    return y * mask.masked_fill(mask != 0, -1.0)


def a_dropout_of_nothing(module, y):
    z = nn.functional.dropout(y, 0.0)
    z += 1
    return y + z


def a_buffer(module, y):
    module.seen[1] += y.detach().sum()
    return y * module.seen[1]


FUNCTIONS = [
    select, part_of_a_part, another_view_taken_before, split, turned, reshaped, twice, masks, a_dropout_of_nothing,
    a_buffer,
]  # fmt: skip


def run_fused(function, lanes=2):
    models = []
    for lane in range(lanes):
        torch.manual_seed(lane)
        models.append(Changes(function).double())
    program = lower([trace(models[0], (INPUT.double(),), train=True)])
    tensors = LaneTensors(models)
    return models, tensors, program, program(tensors.parameters, tensors.buffers, (INPUT.double(),))


def total(outputs):
    return sum(output.square().sum() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_change_is_seen_through_every_view(function):
    models, tensors, _, outputs = run_fused(function)
    total(outputs).backward()
    for lane, model in enumerate(models):
        alone = model(INPUT.double())
        total(alone).backward()
        pairs = zip(outputs, alone, strict=True) if isinstance(outputs, tuple) else [(outputs, alone)]
        assert all(torch.allclose(fused[lane], expected, rtol=0, atol=1e-10) for fused, expected in pairs)
        for name, parameter in model.named_parameters():
            assert torch.allclose(tensors.parameters[name].grad[lane], parameter.grad, rtol=0, atol=1e-10)
        assert torch.allclose(tensors.buffers["seen"][lane], model.seen, rtol=0, atol=1e-10)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_written_change_runs_as_grouped_kernels(function):
    _, _, program, _ = run_fused(function)
    assert {run.tier for run in program.report.runs} <= {Tier.SHARED, Tier.GROUPED}, str(program.report)


def test_what_comes_from_constants_alone_is_computed_once():
    _, _, program, _ = run_fused(masks)
    ops = {run.op for run in program.report.runs}
    assert not ops & {"new_zeros.default", "fill.Tensor", "slice_scatter.default", "ne.Scalar"}


def test_the_traced_graph_stays_as_it_is():
    model = Changes(select).double()
    traced = trace(model, (INPUT.double(),), train=True)
    before = [(node.name, node.target) for node in traced.graph.nodes]
    lower([traced])
    assert [(node.name, node.target) for node in traced.graph.nodes] == before


def test_a_change_through_a_view_without_inverse_is_refused():
    def overlapping(module, y):
        y.as_strided((2, 2), (1, 1)).mul_(2)
        return y

    with pytest.raises(
        NotFusible, match=r"mul_.* at test_changed_views.py:\d+ changes a tensor through aten.as_strided"
    ):
        run_fused(overlapping)


def test_a_change_of_a_parameter_is_refused():
    def clamped(module, y):
        with torch.no_grad():
            module.layer.weight.clamp_(-1, 1)
        return y

    with pytest.raises(NotFusible, match="changes a parameter in place"):
        run_fused(clamped)
