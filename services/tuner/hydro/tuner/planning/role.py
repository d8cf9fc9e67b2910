"""What a hyperparameter changes."""

from enum import Enum


class Role(Enum):
    """What a hyperparameter changes in the training of one model."""

    OPTIMIZER = "OPTIMIZER"
    """The optimizer, its schedule, or nothing in the graph: a vector over lanes."""
    NUMERIC = "NUMERIC"
    """A number in the graph (dropout probability): a vector over lanes."""
    PADDED = "PADDED"
    """The length of the batch, and nothing mixes samples before the loss is reduced: a length per lane."""
    STRUCTURAL = "STRUCTURAL"
    """The graph's structure or shapes: the lanes of one bundle have the same value."""
