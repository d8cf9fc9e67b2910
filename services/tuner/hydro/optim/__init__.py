"""Grouped twins of torch.optim: torch's names and arguments, every number a vector over lanes."""

from hydro.optim.adam import Adam, AdamW
from hydro.optim.grouped_optimizer import GroupedOptimizer, LaneOptions, LaneState
from hydro.optim.lane_wise import LaneWise
from hydro.optim.sgd import SGD
from hydro.optim.twins import build_optimizer, grouped_twin

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "GroupedOptimizer",
    "LaneOptions",
    "LaneState",
    "LaneWise",
    "build_optimizer",
    "grouped_twin",
]
