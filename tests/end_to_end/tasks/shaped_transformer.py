"""A transformer whose architecture is searched: what its blocks do and how many there are, heads, context length."""

import torch
from torch import nn
from torch.nn import functional as F

from hydro.worker import TrainingTask

SYMBOLS, WIDTH, SAMPLES = 16, 32, 4


class Block(nn.Module):
    """A perceptron beside a residual, behind attention if it mixes by that."""

    def __init__(self, mixing, heads):
        super().__init__()
        self.heads = heads
        if mixing == "attention":
            self.attention_norm = nn.LayerNorm(WIDTH)
            self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH)
            self.projection = nn.Linear(WIDTH, WIDTH)
        self.mixing = mixing
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x_NLD):
        if self.mixing == "attention":
            x_NLD = x_NLD + self.attend(self.attention_norm(x_NLD))
        return x_NLD + self.down(F.gelu(self.up(self.norm(x_NLD))))

    def attend(self, x_NLD):
        samples, length, width = x_NLD.shape
        query, key, value = (
            part.view(samples, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.query_key_value(x_NLD).split(width, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.projection(mixed.transpose(1, 2).reshape(samples, length, width))


class Transformer(nn.Module):
    def __init__(self, mixing, heads, layers, length):
        super().__init__()
        self.symbol = nn.Embedding(SYMBOLS, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(length, WIDTH))
        self.blocks = nn.ModuleList(Block(mixing, heads) for _ in range(layers))
        self.norm, self.readout = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, SYMBOLS)

    def forward(self, symbols_NL):
        x_NLD = self.symbol(symbols_NL) + self.position
        for block in self.blocks:
            x_NLD = block(x_NLD)
        return self.readout(self.norm(x_NLD))


class ShapedTransformer(TrainingTask):
    """Each symbol but the first two is the sum of the two before it. Blocks attend only where `mixing` says so."""

    defaults = {"lr": 1e-2, "mixing": "perceptron", "heads": 4, "layers": 2, "length": 8}

    def model(self, hp):
        return Transformer(hp["mixing"], hp["heads"], hp["layers"], hp["length"])

    def train_batches(self, hp, seed, start_step):
        step = start_step
        while True:
            yield sums(hp["length"], seed * 100_003 + step)
            step += 1

    def validation_batches(self, hp):
        return [sums(hp["length"], seed=1)]

    def loss(self, model, batch, hp):
        symbols, following = batch
        return F.cross_entropy(model(symbols).flatten(0, 1), following.flatten())

    def optimizer(self, model, hp):
        return torch.optim.AdamW(model.parameters(), lr=hp["lr"])


def sums(length, seed):
    """Sequences and what follows each of their symbols."""
    drawn = torch.randint(SYMBOLS, (SAMPLES, 2), generator=torch.Generator().manual_seed(seed))
    columns = [drawn[:, 0], drawn[:, 1]]
    while len(columns) <= length:
        columns.append((columns[-1] + columns[-2]) % SYMBOLS)
    sequence_NL = torch.stack(columns, dim=1)
    return sequence_NL[:, :-1].contiguous(), sequence_NL[:, 1:].contiguous()
