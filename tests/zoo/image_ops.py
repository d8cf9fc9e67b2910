"""Modules of a few ops each, as models of images, volumes and signals call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequence_ops import Case

aten = torch.ops.aten

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Calls(nn.Module):
    """A function of a pointwise convolution of a signal, an image or a volume."""

    def __init__(self, function: Callable[..., Any], axes: int, channels: int = 4, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.map = _CONVOLUTIONS[axes - 1](2, channels, 1)
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, self.map(x))


def pooled_signals(module: Any, y: Tensor) -> Any:
    return (
        F.max_pool1d(y, 2), *F.max_pool1d(y, 3, 1, 1, return_indices=True), F.avg_pool1d(y, 2),
        F.adaptive_avg_pool1d(y, 3), *F.adaptive_max_pool1d(y, 3, return_indices=True),
        F.interpolate(y, 9), F.interpolate(y, 9, mode="linear"), F.interpolate(y, scale_factor=2, mode="nearest-exact"),
    )  # fmt: skip


def pooled_images(module: Any, y: Tensor) -> Any:
    return (
        *F.max_pool2d(y, 2, 1, return_indices=True), *F.adaptive_max_pool2d(y, 2, return_indices=True),
        *aten.max_pool2d_with_indices(y, [3, 2]), F.avg_pool2d(y, 3, 2, 1, count_include_pad=False),
        F.adaptive_avg_pool2d(y, 1),
    )  # fmt: skip


def pooled_volumes(module: Any, y: Tensor) -> Any:
    return (
        *F.max_pool3d(y, 2, 1, return_indices=True), *F.adaptive_max_pool3d(y, 2, return_indices=True),
        F.avg_pool3d(y, 2, 1), F.adaptive_avg_pool3d(y, (1, 2, 2)), F.interpolate(y, 5),
        F.interpolate(y, (3, 4, 5), mode="trilinear"), F.interpolate(y, (3, 4, 5), mode="nearest-exact"),
    )  # fmt: skip


def resized_images(module: Any, y: Tensor) -> Any:
    return (
        F.interpolate(y, scale_factor=2), F.interpolate(y, (3, 7), mode="bilinear"),
        F.interpolate(y, (7, 3), mode="bicubic", align_corners=True), F.interpolate(y, 7, mode="nearest-exact"),
        aten.upsample_nearest2d(y, [3, 7]), aten.upsample_bilinear2d(y, [7, 6], True),
        F.pixel_shuffle(y, 2), F.pixel_unshuffle(y[:, :, :4, :4], 2),
    )  # fmt: skip


def padded_signals(module: Any, y: Tensor) -> Any:
    modes = ("reflect", "replicate", "circular", "constant")
    return (
        *(F.pad(y, (2, 1), mode) for mode in modes), *(F.pad(y[0], (2, 1), mode) for mode in modes),
        F.pad(y, (1, 0, 0, 2), value=0.5), F.pad(y, (0, 0, 1, 1, 2, 0)), F.pad(y, (0, 0)), F.pad(y, (-1, 2)),
        aten.constant_pad_nd(y, [1, 1], 2),
    )  # fmt: skip


def padded_images(module: Any, y: Tensor) -> Any:
    modes = ("reflect", "replicate", "circular", "constant")
    return (
        *(F.pad(y, (2, 1, 0, 3), mode) for mode in modes), *(F.pad(y[0], (2, 1, 0, 3), mode) for mode in modes),
        F.pad(y, (1, 1), value=-1), F.pad(y, (0, 0, 0, 0, 1, 2)), aten.constant_pad_nd(y, [1, 1, 0, 2], 0.25),
    )  # fmt: skip


def padded_volumes(module: Any, y: Tensor) -> Any:
    return tuple(F.pad(y, (2, 1, 0, 2, 1, 1), mode) for mode in ("reflect", "replicate", "circular", "constant"))


def windows(module: Any, y: Tensor) -> Any:
    columns = F.unfold(y, (2, 3), padding=1, stride=2)
    return (
        columns, F.fold(columns, (5, 6), (2, 3), padding=1, stride=2), F.fold(y[:, 0, :4, :5], (2, 6), (2, 2)),
        y.unfold(2, 3, 1).unfold(3, 2, 2),
    )  # fmt: skip


def sampled(module: Any, y: Tensor) -> Any:
    places = torch.tanh(y[:, :2].movedim(1, -1)) * 1.2
    options = ({}, {"mode": "nearest"}, {"mode": "bicubic", "align_corners": True}, {"padding_mode": "reflection"})
    grid = torch.linspace(-1, 1, 18, dtype=y.dtype).view(1, 3, 3, 2).expand(len(y), -1, -1, -1)
    return *(F.grid_sample(y, places, **{"align_corners": False, **each}) for each in options), F.grid_sample(
        y, grid, padding_mode="border", align_corners=False
    )


def through_layers(module: Any, y: Tensor) -> Any:
    return tuple(layer(y) for layer in module.layers.values())


def slopes(module: Any, y: Tensor) -> Any:
    one, many = module.layers["one"], module.layers["many"]
    return one(y), many(y), many(y[:, :, 0, 0]), one(y[0, 0, 0]), one(y.mean()), F.relu(many(y)).sum((2, 3))


def drops(module: Any, y: Tensor) -> Any:
    return (
        F.dropout2d(y, 0.4), F.dropout3d(y.unsqueeze(2), 0.4), F.dropout1d(y[..., 0], 0.4), F.alpha_dropout(y, 0.3),
        F.feature_alpha_dropout(y, 0.3), y * torch.empty_like(y[:, :, :1]).bernoulli_(0.7),
        y * torch.empty(len(y), 1, 1, 1).bernoulli_(0.7),
    )  # fmt: skip


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


_SIGNALS, _IMAGES, _VOLUMES = (_random(2, 2, 7),), (_random(2, 2, 5, 6),), (_random(2, 2, 3, 4, 5),)

IMAGE_OPS: dict[str, Case] = {
    "pooled-signals": (lambda: Calls(pooled_signals, 1), _SIGNALS),
    "pooled-images": (lambda: Calls(pooled_images, 2), _IMAGES),
    "pooled-volumes": (lambda: Calls(pooled_volumes, 3), _VOLUMES),
    "resized-images": (lambda: Calls(resized_images, 2), _IMAGES),
    "padded-signals": (lambda: Calls(padded_signals, 1), _SIGNALS),
    "padded-images": (lambda: Calls(padded_images, 2), _IMAGES),
    "padded-volumes": (lambda: Calls(padded_volumes, 3), _VOLUMES),
    "windows": (lambda: Calls(windows, 2), _IMAGES),
    "sampled": (lambda: Calls(sampled, 2), _IMAGES),
    "slopes": (lambda: Calls(slopes, 2, one=nn.PReLU(init=0.1), many=nn.PReLU(4)), _IMAGES),
    "drops": (lambda: Calls(drops, 2), _IMAGES),
    "convolved-signals": (
        lambda: Calls(
            through_layers, 1, same=nn.Conv1d(4, 3, 2, padding="same"), transposed=nn.ConvTranspose1d(4, 2, 3, 2)
        ),
        _SIGNALS,
    ),
    "convolved-volumes": (
        lambda: Calls(
            through_layers, 3, same=nn.Conv3d(4, 2, 3, padding="same"), transposed=nn.ConvTranspose3d(4, 2, 2)
        ),
        _VOLUMES,
    ),
    "instance-norm": (
        lambda: Calls(
            through_layers, 2, plain=nn.InstanceNorm2d(4), affine=nn.InstanceNorm2d(4, affine=True),
            tracking=nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        ),
        _IMAGES,
    ),
    "instance-norm-of-signals": (
        lambda: Calls(through_layers, 1, tracking=nn.InstanceNorm1d(4, track_running_stats=True)), _SIGNALS,
    ),
}  # fmt: skip
"""By name: what makes a module, and its inputs."""
