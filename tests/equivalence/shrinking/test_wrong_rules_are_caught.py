"""Each row of the table can be found wrong: learning rates, initial values and multipliers by how far tensors move at
several widths, eps and weight decay by one update against its closed form. The table in use passes all of it."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner.shrinking import parametrization
from hydro.tuner.shrinking.classification import Classified, TensorClass
from hydro.tuner.shrinking.parametrization import Parametrization
from hydro.tuner.shrinking.rule_table import MUP, NEURAL_TANGENT, TRAINED, VECTOR_LIKE, OptimizerFamily, table
from hydro.tuner.shrinking.scaled_step import scale_steps
from hydro.tuner.shrinking.shrink import shrink
from hydro.tuner.shrinking.update_size import check_update_sizes, compare_update_sizes, spectral_norm
from hydro.tuner.task import TrainingTask

torch.set_num_threads(1)

WIDTHS = (1 / 16, 1 / 8, 1 / 4)
NUMBERS = {"lr": 1e-3}


class Dense(nn.Module):
    """Input, hidden, readout, vectors."""

    inputs = (torch.zeros(32, 10, dtype=torch.float64),)

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(10, 512), nn.Linear(512, 512), nn.Linear(512, 3)

    def forward(self, x):
        return self.head(F.relu(self.second(F.relu(self.first(x)))))

    @staticmethod
    def batch(generator):
        rows = torch.randn(32, 10, generator=generator, dtype=torch.float64)
        return rows, rows[:, :3].argmax(1)


class Grouped(nn.Module):
    """Convolutions: input, depthwise, grouped by size and by count, readout."""

    inputs = (torch.zeros(16, 2, 3, 3, dtype=torch.float64),)

    def __init__(self):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(2, 512, 1), nn.Conv2d(512, 512, 3, groups=512)
        self.by_size, self.by_count = nn.Conv2d(512, 512, 1, groups=2), nn.Conv2d(512, 512, 1, groups=128)
        self.head = nn.Linear(512, 3)

    def forward(self, x):
        x = F.relu(self.by_size(F.relu(self.depthwise(self.stem(x)))))
        return self.head(self.fours(self.by_count(self.fours(x))).flatten(1))

    def fours(self, x):
        return (x.unflatten(1, (128, 4)) * torch.arange(1, 5)[:, None, None]).flatten(1, 2)

    @staticmethod
    def batch(generator):
        images = torch.randn(16, 2, 3, 3, generator=generator, dtype=torch.float64)
        return images, (images.sum((1, 2, 3)) > 0).long()


class Tied(nn.Module):
    """A look-up and a readout in one."""

    inputs = (torch.zeros(32, dtype=torch.int64),)

    def __init__(self):
        super().__init__()
        self.symbol, self.hidden = nn.Embedding(12, 512), nn.Linear(512, 512)
        nn.init.normal_(self.symbol.weight, std=0.5)

    def forward(self, symbols):
        x = self.symbol(symbols)
        return F.linear(x + F.relu(self.hidden(x)), self.symbol.weight)

    @staticmethod
    def batch(generator):
        symbols = torch.randint(12, (32,), generator=generator)
        return symbols, (symbols * 5 + 1) % 12


class Task(TrainingTask):
    precision = "float64"

    def __init__(self, model_type, optimizer_type):
        self.model_type, self.optimizer_type = model_type, optimizer_type

    def model(self, hp):
        return self.model_type()

    def train_batches(self, hp, seed, start_step):
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield self.model_type.batch(generator)

    def loss(self, model, batch, hp):
        return F.cross_entropy(model(batch[0]), batch[1])

    def optimizer(self, model, hp):
        if self.optimizer_type is torch.optim.Muon:
            return torch.optim.Muon([each for each in model.parameters() if each.ndim == 2], lr=0.02)
        return self.optimizer_type(model.parameters(), **hp)


def surrogates(model_type, *, multiplied_readout=False, feature_learning=MUP):
    torch.manual_seed(0)
    model = model_type().double()
    how = {"multiplied_readout": multiplied_readout, "feature_learning": feature_learning}
    return [shrink(model, model_type.inputs, width, **how) for width in WIDTHS]


@pytest.fixture(scope="module")
def models():
    return {
        "dense": surrogates(Dense),
        "multiplied": surrogates(Dense, multiplied_readout=True),
        "grouped": surrogates(Grouped),
        "tied": surrogates(Tied),
    }


MODELS = {"dense": Dense, "multiplied": Dense, "grouped": Grouped, "tied": Tied}
OPTIMIZERS = (
    torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adafactor,
)  # fmt: skip


def check(models, name, optimizer_type, steps=2):
    task = Task(MODELS[name], optimizer_type)
    # Gradients vary with the initial values more than their signs do.
    seeds = 8 if optimizer_type is torch.optim.SGD else 3
    return compare_update_sizes(task, NUMBERS, models[name], seeds=seeds, steps=steps)


def wrong_table(monkeypatch, change, classes=TRAINED, families=tuple(OptimizerFamily)):
    wrong = {key: change(each) if key[0] in classes and key[1] in families else each for key, each in table().items()}
    monkeypatch.setattr(parametrization, "table", lambda feature_learning: wrong)


def off(exponents):
    """Wrong by the width itself, whichever of the axes shrinks."""
    return exponents[0] + 0.5, exponents[1] + 0.5


@pytest.mark.parametrize("optimizer_type", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_moves_alike_at_every_width(models, name, optimizer_type):
    assert check(models, name, optimizer_type).warnings == ()


def test_the_models_have_every_class_of_the_table(models):
    found = {
        each.tensor_class for group in models.values() for each in group[0].solution.parametrization.parameters.values()
    }
    assert found >= set(TRAINED)


@pytest.mark.parametrize("optimizer_type", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_every_wrong_learning_rate_is_caught(models, monkeypatch, name, optimizer_type):
    wrong_table(monkeypatch, lambda row: replace(row, lr=(row.lr[0] + 1, row.lr[1] + 1)))
    found = check(models, name, optimizer_type, steps=1)
    assert {each.layer for each in found.wrong} == {each.layer for each in found.tensors}


@pytest.mark.parametrize("adjust", ["right", "wrong"])
def test_a_wrong_learning_rate_of_muon_is_caught(models, monkeypatch, adjust):
    if adjust == "wrong":
        wrong_table(monkeypatch, lambda row: replace(row, lr=(row.lr[0] + 1, row.lr[1])))
    wrong = {each.layer for each in check(models, "dense", torch.optim.Muon).wrong}
    assert wrong == ({"second.weight", "head.weight"} if adjust == "wrong" else set())


@pytest.mark.parametrize(
    ("name", "tensor_class"),
    [
        ("dense", TensorClass.INPUT),
        ("dense", TensorClass.HIDDEN),
        ("dense", TensorClass.READOUT),
        ("multiplied", TensorClass.MULTIPLIED_READOUT),
        ("grouped", TensorClass.DEPTHWISE),
        ("grouped", TensorClass.GROUPED_BY_SIZE),
        ("grouped", TensorClass.GROUPED_BY_COUNT),
        ("tied", TensorClass.TIED),
    ],
)
def test_wrong_initial_values_are_caught(models, monkeypatch, name, tensor_class):
    wrong_table(monkeypatch, lambda row: replace(row, initial_std=off(off(row.initial_std))), [tensor_class])
    assert check(models, name, torch.optim.SGD).wrong


@pytest.mark.parametrize(
    ("name", "tensor_class"), [("multiplied", TensorClass.MULTIPLIED_READOUT), ("tied", TensorClass.TIED)]
)
def test_a_missing_multiplier_is_caught(monkeypatch, name, tensor_class):
    wrong_table(monkeypatch, lambda row: replace(row, multiplier=(0, 0)), [tensor_class])
    built = {name: surrogates(MODELS[name], multiplied_readout=name == "multiplied")}
    assert check(built, name, torch.optim.SGD).wrong


@pytest.mark.parametrize("optimizer_type", [torch.optim.SGD, torch.optim.AdamW])
def test_the_neural_tangent_parametrization_is_told_apart(optimizer_type):
    built = {"dense": surrogates(Dense, feature_learning=NEURAL_TANGENT)}
    found = {each.layer: each.slope for each in check(built, "dense", optimizer_type).wrong}
    # Features change by one over the root of the width, the output as much as ever.
    assert set(found) == {"first.weight", "first.bias", "second.weight", "second.bias"}
    assert all(-0.75 < slope < -0.25 for slope in found.values())


def test_the_check_of_a_task_names_what_is_wrong(monkeypatch):
    task = Task(Dense, torch.optim.AdamW)
    shrunk = surrogates(Dense)[0]
    wrong_table(monkeypatch, lambda row: replace(row, lr=(0, 0)), [TensorClass.HIDDEN])
    found = check_update_sizes(task, NUMBERS, shrunk, steps=1)
    assert [each.layer for each in found.wrong] == ["second.weight"]
    assert "second.weight (hidden) moves more at larger widths (slope +" in found.warnings[0]
    assert "FAIL" in next(line for line in str(found).splitlines() if "second.weight" in line)


def test_the_power_iteration_finds_the_largest_singular_value():
    matrix = torch.randn(20, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert spectral_norm(matrix) == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=0.02)
    assert spectral_norm(torch.zeros(3, 3)) == 0


# What an eighth of the width makes of initial values, gradients and wanted updates: Table 3 and 8 of TP-V.
CLOSED_FORM = {
    **dict.fromkeys(VECTOR_LIKE, (1, 8, 1)),
    TensorClass.HIDDEN: (8**0.5, 8, 8),
    TensorClass.GROUPED_BY_SIZE: (8**0.5, 8, 8),
    TensorClass.READOUT: (8, 1, 8),
    TensorClass.MULTIPLIED_READOUT: (1, 8, 1),
    TensorClass.TIED: (1, 8, 1),
}
FAMILIES = {
    OptimizerFamily.SGD: (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}),
    OptimizerFamily.ADAM: (torch.optim.Adam, {"lr": 0.1, "eps": 0.5, "amsgrad": True}),
    OptimizerFamily.ADAMW: (torch.optim.AdamW, {"lr": 0.1, "eps": 0.5, "weight_decay": 0.3}),
    OptimizerFamily.RMSPROP: (torch.optim.RMSprop, {"lr": 0.1, "eps": 0.5}),
    OptimizerFamily.ADAGRAD: (torch.optim.Adagrad, {"lr": 0.1, "eps": 0.5, "initial_accumulator_value": 0.7}),
    OptimizerFamily.ADADELTA: (torch.optim.Adadelta, {"lr": 0.1, "eps": 0.5}),
    OptimizerFamily.ADAFACTOR: (torch.optim.Adafactor, {"lr": 0.1, "eps": (1e-30, 3.0), "weight_decay": 0.3}),
}  # fmt: skip


def one_update(family, values, gradient, tensor_class=None):
    """How far two steps move a tensor, and what is left of its value by decay alone."""
    optimizer_type, options = FAMILIES[family]
    moved = []
    for each in (gradient, torch.zeros_like(gradient)):
        parameter = nn.Parameter(values.clone())
        optimizer = optimizer_type([parameter], **options | ({"weight_decay": 0.0} if each is gradient else {}))
        if tensor_class is not None:
            ratios = (1, 1 / 8) if tensor_class in VECTOR_LIKE else (1 / 8, 1)
            if tensor_class in (TensorClass.HIDDEN, TensorClass.GROUPED_BY_SIZE):
                ratios = (1 / 8, 1 / 8)
            rules = Parametrization({"it": Classified(tensor_class, *ratios)})
            scale_steps(optimizer, {parameter: rules.factors("it", optimizer_type, optimizer.param_groups[0])})
        for _ in range(2):
            parameter.grad = each.clone()
            optimizer.step()
        moved.append(parameter.detach() - values)
    return moved[0], moved[1] / values


def deviation(tensor_class, family):
    """Of the surrogate's update, and of its decay, from what the target's are times the closed form."""
    generator = torch.Generator().manual_seed(0)
    values, gradient = (torch.rand(4, 6, generator=generator, dtype=torch.float64) + 0.5 for _ in range(2))
    initial, slope, update = CLOSED_FORM[tensor_class]
    target = one_update(family, values, gradient)
    surrogate = one_update(family, values * initial, gradient * slope, tensor_class)
    return (
        float((surrogate[0] / update - target[0]).abs().max() / target[0].abs().max()),
        float((surrogate[1] - target[1]).abs().max()),
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tensor_class", TRAINED)
def test_one_update_is_the_closed_forms(tensor_class, family):
    assert max(deviation(tensor_class, family)) < 1e-12


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tensor_class", TRAINED)
def test_a_wrong_eps_or_weight_decay_is_caught_by_one_update(monkeypatch, tensor_class, family):
    if family is not OptimizerFamily.SGD:
        wrong_table(monkeypatch, lambda row: replace(row, eps=off(row.eps), floor=off(row.floor)), families=[family])
        assert deviation(tensor_class, family)[0] > 1e-3
    if table()[tensor_class, family].weight_decay is not None:
        wrong_table(monkeypatch, lambda row: replace(row, weight_decay=off(row.weight_decay)), families=[family])
        assert deviation(tensor_class, family)[1] > 1e-3
