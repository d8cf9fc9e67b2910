"""Torch's own layers for sequences, and the models of the examples, at sizes that a test can train."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from zoo.model import ZooModel

SAMPLES, LENGTH, SYMBOLS, WIDTH = 2, 6, 11, 8
EXAMPLES = Path(__file__).parents[2] / "examples"


class Encoder(nn.Module):
    """Symbols to the next symbol's logits, by nn.TransformerEncoder with a causal mask."""

    def __init__(self, width: float = 1.0, **options: Any) -> None:
        super().__init__()
        size, heads, hidden = (round(each * width) for each in (WIDTH, 2, 16))
        self.symbol = nn.Embedding(SYMBOLS, size)
        layer = nn.TransformerEncoderLayer(size, heads, hidden, dropout=0.1, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(size), enable_nested_tensor=False)
        self.readout = nn.Linear(size, SYMBOLS)

    def forward(self, symbols_NL: Tensor) -> Tensor:
        """Gives logits [N, L, symbols]."""
        mask = nn.Transformer.generate_square_subsequent_mask(symbols_NL.shape[1], dtype=self.symbol.weight.dtype)
        return self.readout(self.encoder(self.symbol(symbols_NL), mask=mask, is_causal=True))


class Recurrent(nn.Module):
    """Symbols to the next symbol's logits, by one of torch's recurrent layers; gives its states too."""

    def __init__(self, layer: Callable[..., nn.Module], width: float = 1.0, **options: Any) -> None:
        super().__init__()
        size, projected = round(WIDTH * width), round(options.get("proj_size", 0) * width)
        self.symbol = nn.Embedding(SYMBOLS, size, padding_idx=0)
        options = {**options, "proj_size": projected} if projected else options
        self.layer = layer(size, size, batch_first=True, **options)
        self.dropout = nn.Dropout(0.1)
        self.readout = nn.Linear((projected or size) * (2 if options.get("bidirectional") else 1), SYMBOLS)

    def forward(self, symbols_NL: Tensor) -> dict[str, Any]:
        """Gives logits [N, L, symbols] and the states after the last symbol."""
        y_NLD, states = self.layer(self.symbol(symbols_NL))
        return {"logits": self.readout(self.dropout(y_NLD)), "states": states}


def symbols(generator: torch.Generator) -> tuple[Tensor]:
    """Draws [N, L] symbols."""
    return (torch.randint(SYMBOLS, (SAMPLES, LENGTH), generator=generator),)


def example(name: str, **sizes: int) -> ModuleType:
    """Imports one of the examples, with some of its sizes changed."""
    specification = importlib.util.spec_from_file_location(f"zoo_example_{name}", EXAMPLES / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    vars(module).update(sizes)
    return module


def _digits(width: float = 1.0) -> nn.Module:
    task = example("digits").Digits()
    return task.model({**task.defaults, "channels": round(8 * width)})


def _characters(width: float = 1.0) -> nn.Module:
    return example("char_lm", HEADS=round(2 * width), CONTEXT=8).Transformer(round(16 * width), dropout=0.1)


def _images(generator: torch.Generator) -> tuple[Tensor]:
    return (torch.randn(4, 1, 8, 8, generator=generator, dtype=torch.float64),)


def _windows(generator: torch.Generator) -> tuple[Tensor]:
    return (torch.randint(96, (SAMPLES, 8), generator=generator),)


_RECURRENT: Mapping[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "LSTM": (nn.LSTM, {"num_layers": 2, "dropout": 0.2}),
    "LSTM in two directions": (nn.LSTM, {"num_layers": 2, "dropout": 0.2, "bidirectional": True}),
    "LSTM with a projection": (nn.LSTM, {"num_layers": 2, "dropout": 0.2, "proj_size": 4}),
    "GRU": (nn.GRU, {"num_layers": 2, "dropout": 0.2, "bidirectional": True}),
    "RNN": (nn.RNN, {"num_layers": 2, "dropout": 0.2, "nonlinearity": "relu"}),
}


def _model(name: str, make: Callable[..., nn.Module], inputs: Any, **options: Any) -> ZooModel:
    made = partial(make, **options)
    return ZooModel(name, made, inputs, lambda width: made(width=width))


TORCH_MODELS = (
    _model("TransformerEncoder", Encoder, symbols),
    _model("TransformerEncoder, norm first", Encoder, symbols, norm_first=True, activation="gelu"),
    *(_model(name, partial(Recurrent, layer), symbols, **options) for name, (layer, options) in _RECURRENT.items()),
    _model("digits example", _digits, _images),
    _model("characters example", _characters, _windows),
)
