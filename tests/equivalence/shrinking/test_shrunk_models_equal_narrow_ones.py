"""A shrunk model computes what the same architecture built narrower computes: to the last bits of float64."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner.shrinking.shrink import shrink

torch.set_num_threads(1)


class Perceptron(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(10, width), nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.head(F.relu(self.second(F.relu(self.first(x)))))


class HandmadeAttention(nn.Module):
    """As in GPT-2: fused query, key and value, a mask buffer, a scale written as a number."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query_key_value, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("mask", torch.tril(torch.ones(16, 16, dtype=torch.bool)).view(1, 1, 16, 16))

    def forward(self, x):
        samples, length, width = x.size()
        query, key, value = (
            part.view(samples, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.query_key_value(x).split(width, dim=2)
        )
        logits = (query @ key.transpose(-2, -1)) * (1.0 / math.sqrt(key.size(-1)))
        weights = F.softmax(logits.masked_fill(~self.mask[:, :, :length, :length], float("-inf")), dim=-1)
        return self.projection((weights @ value).transpose(1, 2).contiguous().view(samples, length, width))


class UntiedTransformer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.symbol, self.position = nn.Embedding(50, width), nn.Embedding(16, width)
        self.norm, self.attention = nn.LayerNorm(width), HandmadeAttention(width, width // 16)
        self.head = nn.Linear(width, 50, bias=False)

    def forward(self, symbols):
        x = self.symbol(symbols) + self.position(torch.arange(symbols.size(1), device=symbols.device))
        return self.head(x + self.attention(self.norm(x)))


class Rotary(nn.Module):
    """Rotated queries and keys, their table a buffer, made without gradients."""

    def __init__(self, width):
        super().__init__()
        self.heads, self.size = width // 16, 16
        self.symbol, self.norm = nn.Embedding(50, width), nn.RMSNorm(width)
        self.query_key_value, self.head = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, 50)
        self.register_buffer("frequencies", 10_000 ** -(torch.arange(0, 16, 2) / 16), persistent=False)

    def forward(self, symbols):
        x = self.symbol(symbols)
        samples, length, width = x.shape
        shape = (samples, length, 3, self.heads, self.size)
        query, key, value = self.query_key_value(self.norm(x)).view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(self.rotated(query), self.rotated(key), value, is_causal=True)
        return self.head(x + mixed.transpose(1, 2).reshape(samples, length, width))

    def rotated(self, x):
        with torch.no_grad():
            angles = torch.outer(torch.arange(x.shape[-2]).to(x.dtype), self.frequencies).repeat(1, 2)
        left, right = x.chunk(2, -1)
        return x * angles.cos() + torch.cat([-right, left], -1) * angles.sin()


class VisionTransformer(nn.Module):
    """PyTorch's own encoder layer, a class token, patches by convolution."""

    def __init__(self, width):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width))
        self.layer = nn.TransformerEncoderLayer(width, width // 16, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.layer(x)[:, 0])


class Mobile(nn.Module):
    """Depthwise convolution, squeeze and excitation, group norm."""

    def __init__(self, channels):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.squeeze, self.excite = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)
        self.pointwise, self.group_norm = nn.Conv2d(channels, 2 * channels, 1), nn.GroupNorm(4, 2 * channels)
        self.head = nn.Linear(2 * channels, 10)

    def forward(self, x):
        x = F.hardswish(self.norm(self.depthwise(self.stem(x))))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(F.hardswish(self.group_norm(self.pointwise(x))).mean((2, 3)))


class Grouped(nn.Module):
    """Convolution in groups, and a flatten over channels and space."""

    def __init__(self, channels):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=4)
        self.head = nn.Linear(16 * channels, 10)

    def forward(self, x):
        return self.head(F.max_pool2d(F.relu(self.grouped(F.relu(self.stem(x)))), 2).flatten(1))


class Dense(nn.Module):
    """Each layer sees all before it."""

    def __init__(self, channels):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.first = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels + channels // 2)
        self.second = nn.Conv2d(channels + channels // 2, channels // 2, 3, padding=1)
        self.head = nn.Linear(2 * channels, 10)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([x, self.first(x)], 1)
        return self.head(torch.cat([x, self.second(F.relu(self.norm(x)))], 1).mean((2, 3)))


class Shuffled(nn.Module):
    """A channel shuffle behind a split and a concatenation."""

    def __init__(self, channels):
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 2 * channels, 3, padding=1), nn.Conv2d(channels, channels, 1)
        self.head = nn.Linear(2 * channels * 64, 10)

    def forward(self, x):
        kept, changed = self.stem(x).chunk(2, 1)
        x = torch.cat([kept, self.branch(changed)], 1)
        samples, channels, height, width = x.shape
        shuffled = x.view(samples, 2, channels // 2, height, width).transpose(1, 2)
        return self.head(shuffled.reshape(samples, channels, height, width).flatten(1))


class Hourglass(nn.Module):
    """Down, up by transposed convolution, and a skip connection."""

    def __init__(self, channels):
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, channels, 3, padding=1), nn.Conv2d(channels, 2 * channels, 3, 2, 1)
        self.up, self.mix = nn.ConvTranspose2d(2 * channels, channels, 2, 2), nn.Conv2d(2 * channels, channels, 1)
        self.head = nn.Conv2d(channels, 3, 1)

    def forward(self, x):
        stem = F.relu(self.stem(x))
        return self.head(F.relu(self.mix(torch.cat([stem, self.up(F.relu(self.down(stem)))], 1))))


class Recurrent(nn.Module):
    def __init__(self, width, layer=nn.LSTM):
        super().__init__()
        self.symbol = nn.Embedding(50, width)
        self.layers = layer(width, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, 50)

    def forward(self, symbols):
        return self.head(self.layers(self.symbol(symbols))[0])


class GatedRecurrent(Recurrent):
    def __init__(self, width):
        super().__init__(width, nn.GRU)


class ByEquation(nn.Module):
    """Attention as sums over letters."""

    def __init__(self, width):
        super().__init__()
        self.heads = width // 16
        self.symbol, self.head = nn.Embedding(50, width), nn.Linear(width, 50)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, symbols):
        x = self.symbol(symbols)
        query, key, value = (each.unflatten(-1, (self.heads, 16)) for each in (self.query(x), self.key(x), x))
        weights = torch.einsum("nlhd,nshd->nhls", query, key).div(4).softmax(-1)
        return self.head(torch.einsum("nhls,nshd->nlhd", weights, value).flatten(2))


def example(name):
    """A copy of its own: some sizes are the module's constants."""
    path = Path(__file__).parents[3] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_of_its_own", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digits(channels):
    task = example("digits").Digits()
    return task.model({**task.defaults, "channels": channels})


def character_language_model(width):
    module = example("char_lm")
    module.HEADS = width // 16
    return module.Transformer(width, dropout=0.0)


GENERATOR = torch.Generator().manual_seed(0)
SYMBOLS = torch.randint(50, (2, 16), generator=GENERATOR)
LONG_SYMBOLS = torch.randint(50, (2, 32), generator=GENERATOR)
IMAGES = torch.randn(2, 3, 8, 8, generator=GENERATOR, dtype=torch.float64)
GRAY_IMAGES = IMAGES[:, :1]
ROWS = torch.randn(4, 10, generator=GENERATOR, dtype=torch.float64)

CASES = {
    "perceptron": (Perceptron, 64, ROWS),
    "handmade attention": (UntiedTransformer, 64, SYMBOLS),
    "rotary": (Rotary, 64, SYMBOLS),
    "vision transformer": (VisionTransformer, 64, IMAGES),
    "mobile": (Mobile, 64, IMAGES),
    "grouped": (Grouped, 64, IMAGES),
    "dense": (Dense, 64, IMAGES),
    "shuffled": (Shuffled, 32, IMAGES),
    "hourglass": (Hourglass, 32, IMAGES),
    "lstm": (Recurrent, 32, SYMBOLS),
    "gru": (GatedRecurrent, 32, SYMBOLS),
    "einsum": (ByEquation, 64, SYMBOLS),
    "digits": (digits, 64, GRAY_IMAGES),
    "character language model": (character_language_model, 128, LONG_SYMBOLS),
}


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", CASES)
def test_a_shrunk_model_is_the_architecture_built_narrower(name, train):
    build, width, inputs = CASES[name]
    shrunk = shrink(build(width).double(), (inputs,), 1 / 4).model.train(train)
    narrow = build(width // 4).double().train(train)
    assert {key: each.shape for key, each in shrunk.state_dict().items()} == {
        key: each.shape for key, each in narrow.state_dict().items()
    }
    narrow.load_state_dict(shrunk.state_dict())
    expected, found = narrow(inputs), shrunk(inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    expected.square().sum().backward()
    found.square().sum().backward()
    for parameter, twin in zip(shrunk.parameters(), narrow.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(dict(shrunk.named_buffers()), dict(narrow.named_buffers()), rtol=0, atol=1e-12)
