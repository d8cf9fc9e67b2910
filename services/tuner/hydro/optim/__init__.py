"""Grouped twins of torch.optim: torch's names and arguments, every number a vector over lanes."""

from hydro.optim.adadelta import Adadelta
from hydro.optim.adafactor import Adafactor
from hydro.optim.adagrad import Adagrad
from hydro.optim.adam import Adam, AdamW
from hydro.optim.adamax import Adamax
from hydro.optim.asgd import ASGD
from hydro.optim.clipping import clip_grad_norm_, clip_grad_value_
from hydro.optim.grad_scaler import GradScaler
from hydro.optim.grouped_optimizer import GroupedOptimizer, LaneOptions, LaneState, MakeOptimizer
from hydro.optim.lane_wise import LaneWise
from hydro.optim.muon import Muon
from hydro.optim.nadam import NAdam
from hydro.optim.radam import RAdam
from hydro.optim.rmsprop import RMSprop
from hydro.optim.rprop import Rprop
from hydro.optim.sgd import SGD
from hydro.optim.twins import UnsupportedOptimizer, build_optimizer, grouped_twin, require_supported

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "GradScaler",
    "GroupedOptimizer",
    "LaneOptions",
    "LaneState",
    "LaneWise",
    "MakeOptimizer",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "UnsupportedOptimizer",
    "build_optimizer",
    "clip_grad_norm_",
    "clip_grad_value_",
    "grouped_twin",
    "require_supported",
]
