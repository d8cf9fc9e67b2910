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

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.symbol = nn.Embedding(SYMBOLS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.1, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.readout = nn.Linear(WIDTH, SYMBOLS)

    def forward(self, symbols_NL: Tensor) -> Tensor:
        """Gives logits [N, L, symbols]."""
        mask = nn.Transformer.generate_square_subsequent_mask(symbols_NL.shape[1], dtype=self.symbol.weight.dtype)
        return self.readout(self.encoder(self.symbol(symbols_NL), mask=mask, is_causal=True))


class Recurrent(nn.Module):
    """Symbols to the next symbol's logits, by one of torch's recurrent layers; gives its states too."""

    def __init__(self, layer: Callable[..., nn.Module], **options: Any) -> None:
        super().__init__()
        self.symbol = nn.Embedding(SYMBOLS, WIDTH, padding_idx=0)
        self.layer = layer(WIDTH, WIDTH, batch_first=True, **options)
        width = (options.get("proj_size") or WIDTH) * (2 if options.get("bidirectional") else 1)
        self.dropout = nn.Dropout(0.1)
        self.readout = nn.Linear(width, SYMBOLS)

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


def _digits() -> nn.Module:
    task = example("digits", CHANNELS=8).Digits()
    return task.model(task.defaults)


def _characters() -> nn.Module:
    task = example("char_lm", WIDTH=16, HEADS=2, CONTEXT=8).CharacterLanguageModel()
    return task.model(task.defaults)


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

TORCH_MODELS = (
    ZooModel("TransformerEncoder", Encoder, symbols),
    ZooModel("TransformerEncoder, norm first", partial(Encoder, norm_first=True, activation="gelu"), symbols),
    *(ZooModel(name, partial(Recurrent, layer, **options), symbols) for name, (layer, options) in _RECURRENT.items()),
    ZooModel("digits example", _digits, _images),
    ZooModel("characters example", _characters, _windows),
)
