"""Tasks that are wrong in one way each."""

from slow_perceptron import SlowPerceptron
from torch import nn
from torch.nn import functional as F


class Raising(SlowPerceptron):
    def loss(self, model, batch, hp):
        raise ValueError("this loss is not written yet")


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 2)

    def forward(self, x):
        hidden = self.first(x)
        if hidden.sum() > 0:  # depends on the data: no graph has both ways
            hidden = -hidden
        return self.last(F.relu(hidden))


class NotExportable(SlowPerceptron):
    def model(self, hp):
        return Branching()
