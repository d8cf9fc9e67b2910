"""The grouped graph itself: layouts, conversions, numbers that differ, structures that do."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner.fusion.lanes import LaneTensors
from hydro.tuner.fusion.lower import NotFusible, lower
from hydro.tuner.fusion.report import Tier
from hydro.tuner.tracing import trace


class Scaled(nn.Module):
    def __init__(self, scale, p=0.0, smoothing=0.0, size=4):
        super().__init__()
        self.layer = nn.Linear(3, size)
        self.scale, self.p, self.smoothing = scale, p, smoothing

    def forward(self, x, y):
        hidden = F.dropout(self.layer(x) * self.scale, self.p)
        return F.cross_entropy(hidden, y, label_smoothing=self.smoothing)


def labelled():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, generator=generator), torch.randint(4, (5,), generator=generator)


def traces(models, inputs, train=True):
    return [trace(model, inputs, train=train) for model in models]


def functions(program, lane_inputs=False):
    graph = program.graph(lane_inputs=lane_inputs).module.graph
    return [getattr(node.target, "__name__", node.target) for node in graph.nodes if node.op != "placeholder"]


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip


def test_a_convolutional_net_stays_packed_from_end_to_end():
    program = lower(traces([convolutional()], (torch.randn(2, 1, 8, 8),)))
    assert functions(program).count("pack") == 0
    assert functions(program).count("unpack") == 1  # for the output


def test_a_shared_image_meets_one_convolution_without_groups():
    program = lower(traces([nn.Conv2d(3, 4, 3)], (torch.randn(2, 3, 8, 8),)))
    assert "convolution_shared" in functions(program)
    assert not {"share", "pack", "convolution"} & set(functions(program))


def test_a_shared_input_of_a_linear_map_is_not_copied_for_each_lane():
    program = lower(traces([nn.Linear(3, 4)], (torch.randn(2, 3),)))
    assert "linear_shared" in functions(program)
    assert not {"share", "expand"} & set(functions(program))


def test_one_program_runs_any_number_of_lanes():
    inputs = (torch.randn(2, 1, 8, 8),)
    program = lower(traces([convolutional()], inputs))
    for count in (1, 2, 5):
        models = [convolutional() for _ in range(count)]
        tensors = LaneTensors(models)
        outputs = program(tensors.parameters, tensors.buffers, inputs)
        for lane, model in enumerate(models):
            assert torch.allclose(outputs[lane], model(*inputs), rtol=0, atol=1e-5)


def test_gradients_lie_as_the_parameters_do():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.Flatten(0))
    program = lower(traces([model], (torch.randn(2, 3),)))
    tensors = LaneTensors([model, model, model])
    output = program(tensors.parameters, tensors.buffers, (torch.randn(2, 3),))
    gradients = torch.autograd.grad(output.sum(), list(tensors.parameters.values()))
    assert all(gradient.is_contiguous() for gradient in gradients)


def test_numbers_that_differ_become_vectors_over_lanes():
    inputs = labelled()
    models = [Scaled(2.0), Scaled(3.0, smoothing=0.2), Scaled(0.5, smoothing=0.1)]
    program = lower(traces(models, inputs))
    tensors = LaneTensors(models)
    losses = program(tensors.parameters, tensors.buffers, inputs)
    for lane, model in enumerate(models):
        assert losses[lane].item() == pytest.approx(model(*inputs).item(), abs=1e-6)
    assert len(program.graph(lane_inputs=False).numbers) == 2
    assert program.report.count(Tier.UNROLLED) == 0


def test_numbers_that_no_rule_takes_are_unrolled():
    class Clamped(nn.Module):
        def __init__(self, most):
            super().__init__()
            self.layer, self.most = nn.Linear(3, 4), most

        def forward(self, x, y):
            return self.layer(x).clamp(max=self.most).sum()

    inputs = labelled()
    models = [Clamped(0.1), Clamped(0.2)]
    program = lower(traces(models, inputs))
    tensors = LaneTensors(models)
    outputs = program(tensors.parameters, tensors.buffers, inputs)
    assert [output.item() for output in outputs] == pytest.approx([model(*inputs).item() for model in models], abs=1e-6)
    assert program.report.tiers()["clamp.default"] is Tier.UNROLLED


def test_tensor_constants_that_differ_are_stacked():
    class Weighted(nn.Module):
        def __init__(self, weights):
            super().__init__()
            self.layer, self.weights = nn.Linear(3, 4), weights

        def forward(self, x, y):
            return (self.layer(x) * torch.tensor(self.weights)).sum()

    inputs = labelled()
    models = [Weighted([1.0, 2.0, 3.0, 4.0]), Weighted([0.0, 1.0, 0.0, 1.0])]
    program = lower(traces(models, inputs))
    tensors = LaneTensors(models)
    outputs = program(tensors.parameters, tensors.buffers, inputs)
    assert [output.item() for output in outputs] == pytest.approx([model(*inputs).item() for model in models], abs=1e-5)


def test_other_shapes_are_not_fusible_and_the_message_says_where():
    with pytest.raises(NotFusible, match=r"lanes differ at .*shape or type"):
        lower(traces([Scaled(1.0), Scaled(1.0, size=5)], labelled()))


def test_other_ops_are_not_fusible():
    plain, activated = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    with pytest.raises(NotFusible, match="the op"):
        lower(traces([plain, activated], labelled()[:1]))


def test_other_axes_are_not_fusible():
    class Sums(nn.Module):
        def __init__(self, axis):
            super().__init__()
            self.layer, self.axis = nn.Linear(3, 5), axis

        def forward(self, x):
            return self.layer(x).softmax(self.axis)

    with pytest.raises(NotFusible, match=r"a size or an axis"):
        lower(traces([Sums(0), Sums(1)], labelled()[:1]))


def test_a_model_that_runs_twice_in_eval_mode_is_computed_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))

        def forward(self, x):
            return {"sum": self.layer(x).sum(), "mean": self.layer(x).mean()}

    program = lower(traces([Twice()], labelled()[:1], train=False))
    assert functions(program).count("linear_shared") == 1


def test_tied_parameters_are_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.symbol, self.readout = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
            self.readout.weight = self.symbol.weight

        def forward(self, x, y):
            return self.readout(self.symbol(y))

    models = [Tied(), Tied()]
    program = lower(traces(models[:1], labelled()))
    tensors = LaneTensors(models)
    outputs = program(tensors.parameters, tensors.buffers, labelled())
    outputs.square().sum().backward()
    for lane, model in enumerate(models):
        model(*labelled()).square().sum().backward()
        assert torch.allclose(tensors.parameters["symbol.weight"].grad[lane], model.symbol.weight.grad, atol=1e-5)
    models[0].load_state_dict(tensors.state_dict(0))


def test_frozen_parameters_stay_shared():
    models = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(2)]
    for model in models[1:]:
        model[0].load_state_dict(models[0][0].state_dict())
    program = lower(traces(models[:1], labelled()[:1]), shared=["0.weight", "0.bias"])
    tensors = LaneTensors(models)
    parameters = {**tensors.parameters, "0.weight": models[0][0].weight, "0.bias": models[0][0].bias}
    outputs = program(parameters, {}, labelled()[:1])
    for lane, model in enumerate(models):
        assert torch.allclose(outputs[lane], model(labelled()[0]), atol=1e-6)
    assert program.report.count(Tier.SHARED) == 2


def test_inputs_of_another_nesting_are_refused():
    program = lower(traces([nn.Linear(3, 4)], labelled()[:1]))
    with pytest.raises(ValueError, match="nested"):
        program({"weight": torch.zeros(1, 4, 3), "bias": torch.zeros(1, 4)}, {}, ([torch.zeros(2, 3)],))
