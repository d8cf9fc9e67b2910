"""A small pre-LN transformer that learns to write Python: characters of Python's own standard library."""

import math
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydro.worker import TrainingTask

SYMBOLS = 96  # printable ASCII, and one for a new line
CONTEXT = 32
HEADS = 8
LAYERS = 2


@cache
def characters() -> Tensor:
    """The first two million characters of the standard library's sources, as symbol numbers.

    Shape: [number of characters], int64.
    """
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = "".join(path.read_text(errors="ignore") for path in files)[:2_000_000]
    codes = torch.frombuffer(bytearray(text.encode("ascii", "replace")), dtype=torch.uint8).long()
    return torch.where((codes >= 32) & (codes < 127), codes - 31, 0)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer norm and beside a residual."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_NLD: Tensor) -> Tensor:
        x_NLD = x_NLD + self.dropout(self.attend(self.attention_norm(x_NLD)))
        hidden_NLD = F.gelu(self.up(self.perceptron_norm(x_NLD)))
        return x_NLD + self.dropout(self.down(hidden_NLD))

    def attend(self, x_NLD: Tensor) -> Tensor:
        samples, length, width = x_NLD.shape
        query, key, value = (
            part.view(samples, length, HEADS, width // HEADS).transpose(1, 2)
            for part in self.query_key_value(x_NLD).split(width, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.projection(mixed.transpose(1, 2).reshape(samples, length, width))


class Transformer(nn.Module):
    """Symbols to the next symbol's logits."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.symbol = nn.Embedding(SYMBOLS, width)
        self.position = nn.Parameter(torch.randn(CONTEXT, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, dropout) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, SYMBOLS, bias=False)

    def forward(self, symbols_NL: Tensor) -> Tensor:
        x_NLD = self.dropout(self.symbol(symbols_NL) + self.position)
        for block in self.blocks:
            x_NLD = block(x_NLD)
        return self.readout(self.norm(x_NLD))


class CharacterLanguageModel(TrainingTask):
    """Next-symbol cross entropy; AdamW with warm-up and cosine, no weight decay on vectors.

    `steps` is the length of the schedule: the pruner's largest number of steps.
    """

    defaults = {
        "lr": 3e-3, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "warmup_fraction": 0.1, "batch_size": 16,
        "dropout": 0.1, "width": 128, "steps": 400,
    }  # fmt: skip

    def model(self, hp):
        return Transformer(hp["width"], hp["dropout"])

    def train_batches(self, hp, seed, start_step) -> Iterator[tuple[Tensor, Tensor]]:
        text = characters()[:-100_000]
        step = start_step
        while True:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            starts = torch.randint(len(text) - CONTEXT - 1, (hp["batch_size"],), generator=generator)
            yield self.windows(text, starts)
            step += 1

    def validation_batches(self, hp):
        text = characters()[-100_000:]
        starts = torch.arange(0, len(text) - CONTEXT - 1, 400)
        return [self.windows(text, part) for part in starts.split(125)]

    @staticmethod
    def windows(text: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        window = text[starts[:, None] + torch.arange(CONTEXT + 1)]
        return window[:, :-1].contiguous(), window[:, 1:].contiguous()

    def loss(self, model, batch, hp):
        symbols, following = batch
        return F.cross_entropy(model(symbols).flatten(0, 1), following.flatten())

    def optimizer(self, model, hp):
        matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
        vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
        groups = [{"params": matrices, "weight_decay": hp["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=hp["lr"], betas=(hp["beta1"], hp["beta2"]))

    def lr_scheduler(self, optimizer, hp):
        warmup = max(1, round(hp["warmup_fraction"] * hp["steps"]))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = min(1.0, (step - warmup) / (hp["steps"] - warmup))
            return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))

        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
