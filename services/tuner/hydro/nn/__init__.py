"""Grouped twins of torch.nn: torch's names and arguments, a lane axis first.

Every tensor that goes in or comes out is [G, ...], G lanes; `share` gives one that lanes have in common its axis
without a copy. Modules that work element by element are torch's own, for which a lane axis is one axis more; so are
containers. Whole models of plain torch.nn are fused by `hydro.tuner.fuse`; these are for writing one by hand.
"""

from torch import nn as _plain
from torch.nn import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    LogSigmoid,
    Mish,
    ModuleDict,
    ModuleList,
    ReLU,
    ReLU6,
    Sequential,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)

from hydro.nn import functional
from hydro.nn.attention import MultiheadAttention
from hydro.nn.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from hydro.nn.generic import CrossEntropyLoss, loss, sample_wise, vmapped
from hydro.nn.lane_module import LaneModule, lane_state_dict, load_lane, take
from hydro.nn.linear import Bilinear, Embedding, Linear
from hydro.nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, LayerNorm, RMSNorm
from hydro.nn.packing import pack, share, unpack
from hydro.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from hydro.nn.regularization import Dropout

AdaptiveAvgPool1d = sample_wise(_plain.AdaptiveAvgPool1d)
AdaptiveAvgPool2d = sample_wise(_plain.AdaptiveAvgPool2d)
AdaptiveAvgPool3d = sample_wise(_plain.AdaptiveAvgPool3d)
AdaptiveMaxPool1d = sample_wise(_plain.AdaptiveMaxPool1d)
AdaptiveMaxPool2d = sample_wise(_plain.AdaptiveMaxPool2d)
AdaptiveMaxPool3d = sample_wise(_plain.AdaptiveMaxPool3d)
AvgPool1d = sample_wise(_plain.AvgPool1d)
AvgPool2d = sample_wise(_plain.AvgPool2d)
AvgPool3d = sample_wise(_plain.AvgPool3d)
ChannelShuffle = sample_wise(_plain.ChannelShuffle)
CircularPad1d = sample_wise(_plain.CircularPad1d)
CircularPad2d = sample_wise(_plain.CircularPad2d)
ConstantPad1d = sample_wise(_plain.ConstantPad1d)
ConstantPad2d = sample_wise(_plain.ConstantPad2d)
Flatten = sample_wise(_plain.Flatten)
Fold = sample_wise(_plain.Fold)
InstanceNorm1d = vmapped(_plain.InstanceNorm1d)
InstanceNorm2d = vmapped(_plain.InstanceNorm2d)
InstanceNorm3d = vmapped(_plain.InstanceNorm3d)
LPPool1d = sample_wise(_plain.LPPool1d)
LPPool2d = sample_wise(_plain.LPPool2d)
LocalResponseNorm = sample_wise(_plain.LocalResponseNorm)
MaxPool1d = sample_wise(_plain.MaxPool1d)
MaxPool2d = sample_wise(_plain.MaxPool2d)
MaxPool3d = sample_wise(_plain.MaxPool3d)
PixelShuffle = sample_wise(_plain.PixelShuffle)
PixelUnshuffle = sample_wise(_plain.PixelUnshuffle)
ReflectionPad1d = sample_wise(_plain.ReflectionPad1d)
ReflectionPad2d = sample_wise(_plain.ReflectionPad2d)
ReplicationPad1d = sample_wise(_plain.ReplicationPad1d)
ReplicationPad2d = sample_wise(_plain.ReplicationPad2d)
Unfold = sample_wise(_plain.Unfold)
Upsample = sample_wise(_plain.Upsample)
ZeroPad1d = sample_wise(_plain.ZeroPad1d)
ZeroPad2d = sample_wise(_plain.ZeroPad2d)

CosineSimilarity = vmapped(_plain.CosineSimilarity)
GLU = vmapped(_plain.GLU)
LogSoftmax = vmapped(_plain.LogSoftmax)
PReLU = vmapped(_plain.PReLU)
Softmax = vmapped(_plain.Softmax)
Softmin = vmapped(_plain.Softmin)
Unflatten = vmapped(_plain.Unflatten)

BCELoss = loss(_plain.BCELoss)
BCEWithLogitsLoss = loss(_plain.BCEWithLogitsLoss)
CosineEmbeddingLoss = loss(_plain.CosineEmbeddingLoss)
GaussianNLLLoss = loss(_plain.GaussianNLLLoss)
HingeEmbeddingLoss = loss(_plain.HingeEmbeddingLoss)
HuberLoss = loss(_plain.HuberLoss)
KLDivLoss = loss(_plain.KLDivLoss)
L1Loss = loss(_plain.L1Loss)
MSELoss = loss(_plain.MSELoss)
MarginRankingLoss = loss(_plain.MarginRankingLoss)
NLLLoss = loss(_plain.NLLLoss)
PoissonNLLLoss = loss(_plain.PoissonNLLLoss)
SmoothL1Loss = loss(_plain.SmoothL1Loss)
TripletMarginLoss = loss(_plain.TripletMarginLoss)

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "CELU",
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "ConstantPad1d",
    "ConstantPad2d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "Fold",
    "GELU",
    "GLU",
    "GRU",
    "GRUCell",
    "GaussianNLLLoss",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "KLDivLoss",
    "L1Loss",
    "LPPool1d",
    "LPPool2d",
    "LSTM",
    "LSTMCell",
    "LaneModule",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MarginRankingLoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Mish",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "PReLU",
    "PixelShuffle",
    "PixelUnshuffle",
    "PoissonNLLLoss",
    "RMSNorm",
    "RNN",
    "RNNCell",
    "ReLU",
    "ReLU6",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "SELU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "TripletMarginLoss",
    "Unflatten",
    "Unfold",
    "Upsample",
    "ZeroPad1d",
    "ZeroPad2d",
    "functional",
    "lane_state_dict",
    "load_lane",
    "pack",
    "share",
    "take",
    "unpack",
]
