"""hydro.nn's twins do to every lane what torch.nn's modules do to that model alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import hydro.nn
import hydro.optim

LANES = 3
IMAGE, SEQUENCE, ROWS = (2, 6, 8, 8), (2, 6, 8), (5, 6)

OWN_TENSORS = [
    ("Linear", (6, 4), {}, [ROWS]),
    ("Linear", (6, 4), {"bias": False}, [(2, 5, 6)]),
    ("Bilinear", (6, 6, 4), {}, [ROWS, ROWS]),
    ("Conv1d", (6, 4, 3), {"padding": 1, "padding_mode": "circular"}, [SEQUENCE]),
    ("Conv2d", (6, 4, 3), {"stride": 2, "groups": 2, "bias": False}, [IMAGE]),
    ("Conv2d", (6, 6, 3), {"padding": "same", "dilation": 2, "groups": 6}, [IMAGE]),
    ("Conv2d", (6, 4, 3), {"padding": 2, "padding_mode": "reflect"}, [IMAGE]),
    ("Conv3d", (6, 4, 2), {}, [(2, 6, 4, 4, 4)]),
    ("ConvTranspose1d", (6, 4, 3), {"stride": 2, "output_padding": 1}, [SEQUENCE]),
    ("ConvTranspose2d", (6, 4, 3), {"groups": 2, "stride": 2}, [IMAGE]),
    ("ConvTranspose3d", (6, 4, 2), {"bias": False}, [(2, 6, 4, 4, 4)]),
    ("BatchNorm1d", (6,), {}, [ROWS]),
    ("BatchNorm1d", (6,), {"track_running_stats": False}, [SEQUENCE]),
    ("BatchNorm2d", (6,), {"momentum": None}, [IMAGE]),
    ("BatchNorm2d", (6,), {"affine": False, "momentum": 0.3}, [IMAGE]),
    ("BatchNorm3d", (6,), {}, [(2, 6, 4, 4, 4)]),
    ("InstanceNorm2d", (6,), {"affine": True}, [IMAGE]),
    ("LayerNorm", (6,), {}, [ROWS]),
    ("LayerNorm", ((8, 8),), {"bias": False}, [IMAGE]),
    ("RMSNorm", (6,), {"eps": 1e-4}, [ROWS]),
    ("GroupNorm", (3, 6), {}, [IMAGE]),
    ("PReLU", (6,), {}, [IMAGE]),
    ("GRUCell", (6, 4), {}, [ROWS, (5, 4)]),
    ("GRUCell", (6, 4), {"bias": False}, [(6,), (4,)]),
    ("LSTMCell", (6, 4), {}, [ROWS]),
    ("LSTMCell", (6, 4), {}, [(6,)]),
    ("RNNCell", (6, 4), {"nonlinearity": "relu"}, [ROWS, (5, 4)]),
    ("RNNCell", (6, 4), {}, [ROWS, (5, 4)]),
    ("RNN", (6, 4), {"nonlinearity": "relu"}, [(7, 2, 6)]),
    ("LSTM", (6, 4, 2), {"batch_first": True, "bidirectional": True}, [(2, 7, 6)]),
    ("LSTM", (6, 4), {"proj_size": 3, "bias": False}, [(7, 6)]),
    ("GRU", (6, 4, 2), {"bidirectional": True}, [(7, 2, 6), (4, 2, 4)]),
    ("GRU", (6, 4), {"batch_first": True}, [(7, 6), (1, 4)]),
]

NO_TENSORS = [
    ("AdaptiveAvgPool2d", (3,), IMAGE),
    ("AdaptiveMaxPool1d", (3,), SEQUENCE),
    ("AvgPool1d", (2,), SEQUENCE),
    ("ChannelShuffle", (3,), IMAGE),
    ("ConstantPad2d", (1, 0.5), IMAGE),
    ("Flatten", (), IMAGE),
    ("GLU", (1,), IMAGE),
    ("GELU", (), IMAGE),
    ("LocalResponseNorm", (2,), IMAGE),
    ("LogSoftmax", (1,), IMAGE),
    ("MaxPool2d", (2,), IMAGE),
    ("PixelShuffle", (1,), IMAGE),
    ("Softmax", (-1,), ROWS),
    ("Unflatten", (1, (2, 3)), ROWS),
    ("Unfold", (2,), IMAGE),
    ("Upsample", (None, 2), IMAGE),
]

REGRESSIONS = ["HuberLoss", "L1Loss", "MSELoss", "PoissonNLLLoss", "SmoothL1Loss"]


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def close(one, other):
    for left, right in zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "args", "kwargs", "shapes"), OWN_TENSORS, ids=lambda case: str(case))
def test_outputs_gradients_and_buffers_are_those_of_the_lanes_alone(name, args, kwargs, shapes):
    alone = [getattr(nn, name)(*args, **kwargs) for _ in range(LANES)]
    twin = getattr(hydro.nn, name).from_lanes(alone)
    inputs = [torch.randn(LANES, *shape, requires_grad=True) for shape in shapes]
    output = twin(*inputs)
    sum(leaf.square().sum() for leaf in pytree.tree_leaves(output)).backward()
    for lane, module in enumerate(alone):
        own = [each[lane].detach().requires_grad_() for each in inputs]
        expected = module(*own)
        sum(leaf.square().sum() for leaf in pytree.tree_leaves(expected)).backward()
        close(pytree.tree_map(lambda leaf, lane=lane: leaf[lane], output), expected)
        for key, parameter in module.named_parameters():
            close(dict(twin.named_parameters())[key].grad[lane], parameter.grad)
        for each, single in zip(inputs, own, strict=True):
            close(each.grad[lane], single.grad)
        close(hydro.nn.lane_state_dict(twin, lane), module.state_dict())
        module.load_state_dict(hydro.nn.lane_state_dict(twin, lane))
    twin.eval()
    close(
        pytree.tree_map(lambda leaf: leaf[0], twin(*inputs)),
        alone[0].eval()(*(each[0] for each in inputs)),
    )


@pytest.mark.parametrize(("name", "args", "shape"), NO_TENSORS, ids=lambda case: str(case))
def test_modules_without_tensors_treat_each_lane_by_itself(name, args, shape):
    x = torch.randn(LANES, *shape)
    extra = {"lanes": LANES} if issubclass(getattr(hydro.nn, name), hydro.nn.LaneModule) else {}
    output = getattr(hydro.nn, name)(*args, **extra)(x)
    for lane in range(LANES):
        close(output[lane], getattr(nn, name)(*args)(x[lane]))


@pytest.mark.parametrize("name", REGRESSIONS)
def test_a_loss_gives_each_lane_its_own(name):
    x, target = torch.rand(LANES, 5, 4), torch.rand(5, 4)
    losses = getattr(hydro.nn, name)()(x, hydro.nn.share(target, LANES))
    close(losses, torch.stack([getattr(nn, name)()(each, target) for each in x]))


@pytest.mark.parametrize(
    "arguments", [{}, {"label_smoothing": 0.1}, {"weight": (0.2, 0.4, 0.6, 0.8), "reduction": "sum"}], ids=str
)
def test_cross_entropy_counts_each_lanes_own_samples(arguments):
    logits, target = (
        torch.randn(LANES, 5, 4),
        torch.tensor([[0, 1, 2, 3, -100], [0, 0, 1, 1, 2], [-100, -100, 1, 2, 3]]),
    )
    arguments = {key: torch.tensor(value) if key == "weight" else value for key, value in arguments.items()}
    losses = hydro.nn.CrossEntropyLoss(**arguments)(logits, target)
    plain = nn.CrossEntropyLoss(**arguments)
    close(losses, torch.stack([plain(x, y) for x, y in zip(logits, target, strict=True)]))


@pytest.mark.parametrize("arguments", [{}, {"kdim": 4, "vdim": 5}, {"bias": False}], ids=str)
def test_multihead_attention_is_that_of_the_lanes_alone(arguments):
    alone = [nn.MultiheadAttention(8, 2, batch_first=True, **arguments) for _ in range(LANES)]
    twin = hydro.nn.MultiheadAttention.from_lanes(alone)
    query = torch.randn(LANES, 3, 5, 8)
    key = torch.randn(LANES, 3, 7, arguments.get("kdim", 8))
    value = torch.randn(LANES, 3, 7, arguments.get("vdim", 8))
    mask = torch.rand(5, 7) < 0.2
    output = twin(query, key, value, attn_mask=mask)
    for lane, module in enumerate(alone):
        expected, _ = module(query[lane], key[lane], value[lane], attn_mask=mask, need_weights=False)
        close(output[lane], expected)


def test_dropout_draws_each_lanes_own_masks():
    x, probabilities = torch.randn(LANES, 5, 6), (0.0, 0.3, 0.6)
    streams = [torch.Generator().manual_seed(lane) for lane in range(LANES)]
    output = hydro.nn.Dropout(probabilities, generators=streams)(x)
    for lane, p in enumerate(probabilities):
        torch.manual_seed(lane)
        close(output[lane], nn.functional.dropout(x[lane], p))


def test_layers_drop_by_each_lanes_own_stream_from_their_given_state():
    alone = [nn.LSTM(6, 4, 2, dropout=0.5) for _ in range(LANES)]
    twin = hydro.nn.LSTM.from_lanes(alone)
    twin.generators = [torch.Generator().manual_seed(lane) for lane in range(LANES)]
    x, states = torch.randn(LANES, 7, 2, 6), (torch.randn(LANES, 2, 2, 4), torch.randn(LANES, 2, 2, 4))
    output = twin(x, states)
    for lane, module in enumerate(alone):
        torch.manual_seed(lane)
        expected = module(x[lane], tuple(state[lane] for state in states))
        close(pytree.tree_map(lambda leaf, lane=lane: leaf[lane], output), expected)


def test_embedding_keeps_the_padding_entry_untrained():
    alone = [nn.Embedding(7, 4, padding_idx=2) for _ in range(LANES)]
    twin = hydro.nn.Embedding.from_lanes(alone)
    indices = torch.tensor([[0, 2, 5], [2, 2, 1]])
    output = twin(hydro.nn.share(indices, LANES))
    output.square().sum().backward()
    for lane, module in enumerate(alone):
        expected = module(indices)
        expected.square().sum().backward()
        close(output[lane], expected)
        close(twin.weight.grad[lane], module.weight.grad)


def test_a_model_written_by_hand_trains_like_its_lanes_alone():
    def layers(twins, **lanes):
        convolution, norm, linear = (getattr(twins, name) for name in ("Conv2d", "BatchNorm2d", "Linear"))
        return (convolution(1, 4, 3, **lanes), norm(4, **lanes), linear(4 * 36, 3, **lanes))

    twin = hydro.nn.Sequential(*layers(hydro.nn, lanes=LANES))
    twin.insert(2, hydro.nn.ReLU())
    twin.insert(3, hydro.nn.Flatten())
    rates = (0.1, 0.2, 0.4)
    optimizer = hydro.optim.SGD(twin.named_parameters(), lr=rates, momentum=0.9)
    alone = []
    for lane in range(LANES):
        model = nn.Sequential(*layers(nn))
        model.insert(2, nn.ReLU())
        model.insert(3, nn.Flatten())
        model.load_state_dict(hydro.nn.lane_state_dict(twin, lane))
        alone.append(model)
    own = [torch.optim.SGD(m.parameters(), lr=lr, momentum=0.9) for m, lr in zip(alone, rates, strict=True)]
    for _ in range(5):
        x, y = torch.randn(4, 1, 8, 8), torch.randint(0, 3, (4,))
        hydro.nn.CrossEntropyLoss()(twin(hydro.nn.share(x, LANES)), hydro.nn.share(y, LANES)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        for model, single in zip(alone, own, strict=True):
            nn.functional.cross_entropy(model(x), y).backward()
            single.step()
            single.zero_grad()
    for lane, model in enumerate(alone):
        close(hydro.nn.lane_state_dict(twin, lane), model.state_dict())


def test_lanes_start_as_torchs_own_modules_do():
    torch.manual_seed(3)
    twin = hydro.nn.Linear(4, 5, lanes=2)
    torch.manual_seed(3)
    for lane in range(2):
        close(hydro.nn.lane_state_dict(twin, lane), nn.Linear(4, 5).state_dict())


def test_lanes_are_taken_cloned_and_loaded():
    twin = hydro.nn.BatchNorm1d(4, lanes=3)
    with torch.no_grad():
        twin.weight.copy_(torch.arange(3.0)[:, None].expand(3, 4))
    weight = twin.weight
    hydro.nn.take(twin, [2, 0, 2])
    assert twin.weight is weight and twin.lanes == 3
    assert twin.weight[:, 0].tolist() == [2.0, 0.0, 2.0]
    state = nn.BatchNorm1d(4).state_dict()
    hydro.nn.load_lane(twin, 1, state)
    close(hydro.nn.lane_state_dict(twin, 1), state)
    with pytest.raises(ValueError, match="running_mean"):
        hydro.nn.load_lane(twin, 1, {key: value for key, value in state.items() if key != "running_mean"})


def test_a_twin_has_torchs_attributes_copies_and_names_its_lanes():
    twin = copy.deepcopy(hydro.nn.Conv2d(3, 4, 3, stride=2, lanes=2))
    assert twin.stride == (2, 2) and twin.in_channels == 3 and twin.lanes == 2
    assert "kernel_size=(3, 3)" in repr(twin) and "lanes=2" in repr(twin)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hydro.nn.Linear(3, 4, lanes=0), "lanes is 0"),
        (lambda: hydro.nn.Linear.from_lanes([nn.Linear(3, 4), nn.Linear(3, 5)]), "configured alike"),
        (lambda: hydro.nn.Linear.from_lanes([nn.ReLU()]), "module 0 is a ReLU"),
        (lambda: hydro.nn.Dropout(1.5), "between 0 and 1"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
