"""The parametrization's two forms of the readout train alike, and widths train alike where it says so."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner.shrinking.coordinate_check import check_coordinates
from hydro.tuner.shrinking.parametrization import Factors, Parametrization
from hydro.tuner.shrinking.shrink import shrink
from hydro.tuner.shrinking.slopes import TOLERANCE, Verdict
from hydro.tuner.shrinking.surrogate import build_surrogate, capture_inputs
from hydro.tuner.task import TrainingTask
from hydro.tuner.tracing import NotTraceable

torch.set_num_threads(1)
WIDTH = 256


class Perceptron(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(10, width), nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.head(F.relu(self.second(F.relu(self.first(x)))))


class Tied(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.symbol, self.hidden = nn.Embedding(20, width), nn.Linear(width, width)
        self.readout = nn.Linear(width, 20, bias=False)
        self.readout.weight = self.symbol.weight
        nn.init.normal_(self.symbol.weight, std=0.02)

    def forward(self, symbols):
        return self.readout(F.relu(self.hidden(self.symbol(symbols))))


class Task(TrainingTask):
    defaults = {"lr": 3e-3}
    precision = "float64"
    optimizer_type = torch.optim.AdamW

    def model(self, hp):
        return Perceptron(WIDTH)

    def train_batches(self, hp, seed, start_step):
        generator = torch.Generator().manual_seed(seed)
        while True:
            rows = torch.randn(32, 10, generator=generator, dtype=torch.float64)
            yield rows, rows[:, :3].argmax(1)

    def loss(self, model, batch, hp):
        rows, labels = batch
        return F.cross_entropy(model(rows), labels)

    def optimizer(self, model, hp):
        return self.optimizer_type(model.parameters(), lr=hp["lr"])


class Clipping(Task):
    gradient_clip_norm = 1.0


class MethodCalling(Task):
    def loss(self, model, batch, hp):
        return model.head(model.second(model.first(batch[0]))).square().mean()


def losses(task, shrunk, model, optimizer, steps=30):
    shrunk.parametrization.apply(optimizer, model)
    found = []
    for batch in itertools.islice(task.train_batches(task.defaults, 0, 0), steps):
        optimizer.zero_grad()
        loss = task.loss(model, batch, task.defaults)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return torch.tensor(found, dtype=torch.float64)


@pytest.fixture(scope="module")
def both_readouts():
    torch.manual_seed(0)
    target, inputs = Perceptron(WIDTH).double(), (torch.zeros(32, 10, dtype=torch.float64),)
    return tuple(shrink(target, inputs, 1 / 8, multiplied_readout=each) for each in (False, True))


@pytest.mark.parametrize(
    ("optimizer_type", "settings"),
    [
        (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
        (torch.optim.Adam, {"lr": 1e-3, "eps": 1e-4}),
        (torch.optim.AdamW, {"lr": 1e-3, "eps": 1e-4, "weight_decay": 0.1}),
        (torch.optim.RMSprop, {"lr": 1e-4, "eps": 1e-4}),
        (torch.optim.Adagrad, {"lr": 1e-2, "eps": 1e-4, "initial_accumulator_value": 1e-3}),
        (torch.optim.Adafactor, {"lr": 1e-2, "eps": (1e-30, 1e-3), "weight_decay": 0.1}),
    ],
)
def test_both_forms_of_the_readout_train_alike(both_readouts, optimizer_type, settings):
    plain, multiplied = both_readouts
    plain.initialize(0)
    multiplied.model.load_state_dict(copy.deepcopy(plain.model.state_dict()))
    with torch.no_grad():
        multiplied.model.head.weight.div_(8)
    one, other = (
        losses(Task(), each, each.model, optimizer_type(each.model.parameters(), **settings)) for each in both_readouts
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert one[-1] < one[0]


def test_a_tied_readout_is_multiplied_and_its_look_up_is_not():
    target, symbols = Tied(64).double(), torch.arange(20)
    shrunk = shrink(target, (symbols,), 1 / 4)
    weight, hidden = shrunk.model.symbol.weight, shrunk.model.hidden
    assert weight is shrunk.model.readout.weight
    expected = F.linear(4 * F.relu(hidden(F.embedding(symbols, weight))), weight)
    torch.testing.assert_close(shrunk.model(symbols), expected, rtol=0, atol=1e-14)
    assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("optimizer_type", [torch.optim.AdamW, torch.optim.SGD])
def test_activations_change_alike_at_every_width(optimizer_type):
    task = Task()
    task.optimizer_type = optimizer_type
    shrunk = build_surrogate(task, task.defaults, 1 / 8)
    check = check_coordinates(task, task.defaults, shrunk)
    assert [each.layer for each in check.layers] == ["first", "second", "head"]
    assert not any(each.verdict is Verdict.FAIL for each in check.layers)
    assert check.warnings == ()


def test_the_standard_parametrization_fails_the_check_and_its_layers_are_named(monkeypatch):
    task = Task()
    shrunk = build_surrogate(task, task.defaults, 1 / 8)
    monkeypatch.setattr(Parametrization, "factors", lambda *_: Factors())
    check = check_coordinates(task, task.defaults, shrunk)
    failed = {each.layer: each for each in check.layers if each.verdict is Verdict.FAIL}
    assert set(failed) == {"second", "head"}
    assert failed["second"].slope > TOLERANCE
    assert any("second changes more at larger widths" in each for each in check.warnings)


def test_a_task_that_clips_gets_the_multiplied_readout():
    assert build_surrogate(Clipping(), Task.defaults, 1 / 8).solution.multiplied_readout


def test_a_surrogate_is_built_again_from_its_solution_with_the_same_values():
    task = Task()
    shrunk = build_surrogate(task, task.defaults, 1 / 8, seed=3)
    again = build_surrogate(task, task.defaults, 1 / 8, solution=shrunk.solution, seed=3)
    assert again.solution is shrunk.solution
    for name, value in shrunk.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


def test_a_loss_that_does_not_call_the_model_is_told():
    with pytest.raises(NotTraceable, match=r"call model\(\.\.\.\), not its methods"):
        build_surrogate(MethodCalling(), Task.defaults, 1 / 8)


def test_inputs_are_captured_without_running_the_model():
    task = Task()
    model = Perceptron(4)
    model.first.register_forward_hook(lambda *_: pytest.fail("the model ran"))
    batch = next(task.train_batches(task.defaults, 0, 0))
    args, kwargs = capture_inputs(task, model, batch, task.defaults)
    assert args[0] is batch[0]
    assert kwargs == {}
