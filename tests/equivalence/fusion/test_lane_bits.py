"""A lane's bits do not change when its neighbours change, leave, join or turn NaN, on a CPU with one thread."""

import pytest
import torch
from torch import nn

from hydro import optim
from hydro.nn.lane_product import linear
from hydro.tuner.fusion.fuse import fuse

COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 33)
ALL = 64


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(13, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.1, activation="gelu", batch_first=True)
        self.head = nn.Linear(16, 13)

    def forward(self, x):
        return self.head(self.layer(self.embedding(x)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(5, 7, batch_first=True), nn.Linear(7, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0])


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


NETS = {
    "tiny": (lambda: nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)), draw(16, 32)),
    # No lane of these fills vectors or begins at an aligned address.
    "odd": (
        lambda: nn.Sequential(nn.Linear(7, 33), nn.GELU(), nn.Dropout(0.3), nn.Linear(33, 29), nn.Tanh(),
                              nn.Linear(29, 1)),
        draw(5, 7),
    ),
    "batch-norm": (lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.SiLU(), nn.Linear(5, 3)), draw(9, 6)),
    "sequences": (lambda: nn.Sequential(nn.Linear(6, 9), nn.LayerNorm(9), nn.Mish(), nn.Linear(9, 4)), draw(3, 5, 6)),
    "transformer": (Language, torch.arange(24).view(3, 8) % 13),
    "lstm": (Recurrent, draw(2, 4, 5)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
                              nn.Conv2d(6, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
        draw(3, 1, 9, 9),
    ),
}  # fmt: skip
CASES = [(name, dtype) for name in NETS for dtype in (torch.float32, torch.float64)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Lanes:
    """Models that train in any company."""

    def __init__(self, name, dtype, count=ALL):
        make, inputs = NETS[name]
        self.inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        self.models = []
        for seed in range(count):
            torch.manual_seed(seed)
            self.models.append(make().to(dtype).train())
        self.grouped = fuse(self.models[:1], (self.inputs,))

    def train(self, ids, steps=2, own_inputs=False, after_step=None):
        """Gives what each of these lanes ends with."""
        grouped = self.grouped
        grouped.generators = None
        grouped.take([])
        for lane in ids:
            grouped.insert(self.models[lane].state_dict())
        grouped.generators = [torch.Generator().manual_seed(lane) for lane in ids]
        optimizer = optim.AdamW(dict(grouped.named_parameters()), lr=[0.01 + 0.001 * lane for lane in ids])
        scales = torch.tensor([1 + 0.01 * lane for lane in ids], dtype=torch.float64)
        for step in range(steps):
            losses = self.losses(grouped, scales, own_inputs)
            losses.sum().backward()
            optim.clip_grad_norm_(grouped.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if after_step is not None:
                after_step(step, grouped, optimizer)
        return self.states(optimizer, losses)

    def losses(self, grouped, scales, own_inputs):
        if not own_inputs or not self.inputs.is_floating_point():
            return grouped(self.inputs).square().flatten(1).mean(1)
        own = self.inputs * scales.to(self.inputs.dtype).view(-1, *(1,) * self.inputs.ndim)
        return grouped(own, lane_inputs=True).square().flatten(1).mean(1)

    def states(self, optimizer, losses):
        found = []
        for row in range(len(self.grouped)):
            state = {**self.grouped.lane_state_dict(row), "loss": losses.detach()[row]}
            for name, slots in optimizer.lane_state(row).items():
                state |= {f"{name} {slot}": tensor for slot, tensor in slots.items()}
            found.append(state)
        return found


def assert_same_bits(states, expected):
    for state, other in zip(states, expected, strict=True):
        assert state.keys() == other.keys()
        for name, tensor in state.items():
            assert torch.equal(tensor, other[name]), (name, float((tensor - other[name]).abs().max()))


@pytest.mark.parametrize("own_inputs", [False, True])
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_bits_do_not_depend_on_how_many_lanes_there_are_nor_on_their_places(name, dtype, own_inputs):
    lanes = Lanes(name, dtype)
    expected = lanes.train(range(ALL), own_inputs=own_inputs)
    for count in COUNTS:
        for ids in (range(count), range(ALL - 1, ALL - 1 - count, -1)):
            assert_same_bits(lanes.train(ids, own_inputs=own_inputs), [expected[lane] for lane in ids])


@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_lane_that_diverges_leaves_the_bits_of_the_others(name, dtype, poison):
    lanes = Lanes(name, dtype, count=4)

    def diverge(step, grouped, optimizer):
        with torch.no_grad():
            for parameter in grouped.parameters():
                parameter[2].fill_(poison)

    clean, dirty = lanes.train(range(4), 3), lanes.train(range(4), 3, after_step=diverge)
    assert not torch.isfinite(dirty[2]["loss"])
    assert_same_bits([dirty[lane] for lane in (0, 1, 3)], [clean[lane] for lane in (0, 1, 3)])


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_lanes_that_leave_and_come_back_end_with_the_bits_of_an_undisturbed_run(name, dtype):
    lanes = Lanes(name, dtype, count=5)

    def leave_and_come_back(step, grouped, optimizer):
        if step == 1:
            state, slots, generator = grouped.lane_state_dict(1), optimizer.lane_state(1), grouped.generators[1]
            grouped.take([4, 0, 3])
            optimizer.take([4, 0, 3])
            grouped.insert(state, generator)
            optimizer.append(slots, {parameter: {"lr": 0.011} for parameter, _ in grouped.named_parameters()})

    expected = lanes.train(range(5), 4)
    disturbed = lanes.train(range(5), 4, after_step=leave_and_come_back)
    assert_same_bits(disturbed, [expected[lane] for lane in (4, 0, 3, 1)])


SHAPES = [
    (1, 7, 64),
    (2, 7, 29),
    (3, 33, 8),
    (5, 3, 64),
    (5, 100, 1),
    (8, 1, 130),
    (15, 6, 29),
    (16, 32, 10),
    (1, 200, 6),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shares_input", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_a_linear_map_gives_the_same_bits_at_every_place(rows, inputs, outputs, shares_input, dtype):
    parts = draw(rows, inputs), draw(outputs, inputs), draw(outputs), draw(rows, outputs)
    x, weight, bias, gradient = (part.to(dtype) for part in parts)

    def run(lanes):
        own = x.expand(lanes, rows, inputs)
        leaves = [
            (own if shares_input else own.contiguous()).requires_grad_(),
            weight.expand(lanes, outputs, inputs).contiguous().requires_grad_(),
            bias.expand(lanes, outputs).contiguous().requires_grad_(),
        ]
        y = linear(*leaves)
        return [y.detach(), *torch.autograd.grad(y, leaves, gradient.expand(lanes, rows, outputs).contiguous())]

    for part, many in zip(run(1), run(33), strict=True):
        assert all(torch.equal(row, part[0]) for row in many)
    for count in (2, 3, 8):
        assert all(torch.equal(few, many[:count]) for few, many in zip(run(count), run(33), strict=True))
