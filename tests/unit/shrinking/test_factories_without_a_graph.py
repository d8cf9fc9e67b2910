"""Models that do not export: the factory's own narrow model is the surrogate, classified by shapes at two widths."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner import shrink
from hydro.tuner.shrinking.classification import TensorClass
from hydro.tuner.shrinking.coordinate_check import check_coordinates
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.shrinking.surrogate import build_surrogate
from hydro.tuner.task import TrainingTask
from hydro.tuner.tracing import NotTraceable

ROWS = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
SYMBOLS = torch.arange(12).reshape(3, 4)


def depends_on_data(x):
    """No export gets past a decision on values."""
    return x if x.sum() > 1e9 else x.clone()


class Perceptron(nn.Module):
    def __init__(self, hidden, *, exports=False):
        super().__init__()
        self.up, self.inner, self.down = nn.Linear(10, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 3)
        self.norm, self.exports = nn.LayerNorm(hidden), exports

    def forward(self, x):
        x = self.norm(F.relu(self.up(x if self.exports else depends_on_data(x))))
        return self.down(F.relu(self.inner(x)))


class Images(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3)
        self.alone = nn.Conv2d(channels, channels, 3, groups=channels)
        self.in_pairs = nn.Conv2d(channels, channels, 1, groups=2)
        self.head = nn.Linear(channels, 3)

    def forward(self, x):
        return self.head(self.in_pairs(self.alone(self.first(depends_on_data(x)))).mean((2, 3)))


class Tied(nn.Module):
    def __init__(self, width, *, exports=False):
        super().__init__()
        self.symbol, self.attention = (
            nn.Embedding(12, width),
            nn.MultiheadAttention(width, width // 16, batch_first=True),
        )
        self.head = nn.Linear(width, 12, bias=False)
        self.head.weight, self.exports = self.symbol.weight, exports

    def forward(self, x):
        x = self.symbol(x if self.exports else depends_on_data(x))
        return self.head(x + self.attention(x, x, x, need_weights=False)[0])


class Plain(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.table, self.down = nn.Parameter(torch.randn(10, hidden)), nn.Linear(hidden, 3)

    def forward(self, x):
        return self.down(depends_on_data(x) @ self.table)


def factory(model, size, **options):
    return lambda width: model(round(size * width), **options)


def classes(shrunk):
    return {name: each.tensor_class for name, each in shrunk.parametrization.parameters.items()}


def test_what_the_shapes_tell_is_what_the_graph_of_the_same_model_tells():
    by_shapes = shrink(factory(Perceptron, 64), (ROWS,), 1 / 8)
    by_graph = shrink(factory(Perceptron, 64, exports=True), (ROWS,), 1 / 8)
    assert by_shapes.solution.untraced and not by_graph.solution.untraced
    assert classes(by_shapes) == classes(by_graph)
    for name, each in by_graph.parametrization.parameters.items():
        found = by_shapes.parametrization.parameters[name]
        assert (found.fan_in_ratio, found.fan_out_ratio) == (each.fan_in_ratio, each.fan_out_ratio), name
        for optimizer in (torch.optim.SGD, torch.optim.AdamW):
            assert by_shapes.parametrization.factors(name, optimizer) == by_graph.parametrization.factors(
                name, optimizer
            )
    by_shapes.model.load_state_dict(by_graph.model.state_dict())
    torch.testing.assert_close(by_shapes.model(ROWS), by_graph.model(ROWS))


def test_convolutions_are_classified_by_their_groups():
    images = (torch.randn(2, 3, 8, 8),)
    found = classes(shrink(factory(Images, 32), images, 1 / 4))
    assert [found[f"{name}.weight"] for name in ("first", "alone", "in_pairs", "head")] == [
        TensorClass.INPUT, TensorClass.DEPTHWISE, TensorClass.GROUPED_BY_SIZE, TensorClass.READOUT,
    ]  # fmt: skip


def test_a_tied_readout_has_its_multiplier_and_copies_keep_it():
    by_shapes = shrink(factory(Tied, 64), (SYMBOLS,), 1 / 4)
    by_graph = shrink(factory(Tied, 64, exports=True), (SYMBOLS,), 1 / 4)
    assert classes(by_shapes) == classes(by_graph)
    by_shapes.model.load_state_dict(by_graph.model.state_dict())
    expected = by_graph.model(SYMBOLS)
    for model in (by_shapes.model, copy.deepcopy(by_shapes.model), pickle.loads(pickle.dumps(by_shapes.model))):
        torch.testing.assert_close(model(SYMBOLS), expected)


def test_a_readout_is_multiplied_where_the_norm_of_gradients_is_bounded():
    shrunk = shrink(factory(Perceptron, 64), (ROWS,), 1 / 8, multiplied_readout=True)
    assert classes(shrunk)["down.weight"] is TensorClass.MULTIPLIED_READOUT
    plain = Perceptron(8)
    plain.load_state_dict(shrunk.model.state_dict())
    plain.down.weight.data *= 8
    torch.testing.assert_close(shrunk.model(ROWS), plain(ROWS))


def test_the_report_says_what_was_not_checked_and_why():
    text = str(shrink(factory(Perceptron, 64), (ROWS,), 1 / 8).report)
    assert "classified by their shapes and modules alone; not checked: ops without a rule" in text
    assert "it runs unfused, since" in text


def test_a_parameter_whose_class_no_shape_tells_is_named():
    with pytest.raises(NotTraceable, match=r"class of table: a Plain holds it as table: put it into a Linear"):
        shrink(factory(Plain, 64), (ROWS,), 1 / 8)


def test_a_solution_is_used_again_and_says_that_there_was_no_graph():
    make = factory(Perceptron, 64)
    solution = Solution.from_json(shrink(make, (ROWS,), 1 / 8).solution.to_json())
    again = shrink(make, (ROWS,), 1 / 8, solution=solution)
    assert again.solution is solution and again.model(ROWS).shape == (8, 3)
    with pytest.raises(NotTraceable):
        shrink(make(1.0), (ROWS,), 1 / 8, solution=solution)


class Unexported(TrainingTask):
    defaults = {"lr": 0.05}
    precision = "float64"
    rule = 0.0

    def model(self, hp):
        return Perceptron(64)

    def model_at_width(self, hp, width):
        return Perceptron(round(64 * width))

    def train_batches(self, hp, seed, start_step):
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randn(16, 10, generator=generator, dtype=torch.float64)

    def loss(self, model, batch, hp):
        return (model(batch) - batch[:, :3].sin()).square().mean()

    def optimizer(self, model, hp):
        return torch.optim.AdamW(model.parameters(), lr=hp["lr"] * (len(model.up.weight) / 64) ** self.rule)


def checked(rule):
    task = Unexported()
    task.rule = rule
    return check_coordinates(task, task.defaults, build_surrogate(task, task.defaults, 1 / 4))


def test_the_coordinate_check_still_runs_and_still_finds_a_wrong_rule():
    right = checked(0.0)
    assert [each.layer for each in right.layers] == ["up", "inner", "down", "the model"]
    assert right.failures == () and "not checked" in right.findings[0]
    assert "the output of inner changes more at larger widths" in " ".join(checked(1.5).failures)
