"""Models drawn by seed from all that torchvision offers for images and video, with random weights and small inputs."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models as library

from zoo.model import ZooModel
from zoo.torchvision_models import TORCHVISION_MODELS

CLASSES = 5
LARGEST = 40_000_000
"""Parameters above which a model is not offered: two lanes and their twins would take gigabytes."""

_FIXED_SIZES = {
    "maxvit_t": (2, 3, 224, 224),  # windows of 7 at the last of five halvings
    "s3d": (1, 3, 14, 224, 224),  # pools over 2 x 7 x 7 places at the end
    "inception_v3": (2, 3, 96, 96),
}
"""The least that these take; the others are fully convolutional, or pad."""

_TOO_LONG = ("mvit_v1_b", "mvit_v2_s")
"""Their positions are fixed for 16 frames of 224 x 224: a minute for each step of each lane."""

_ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": True, "aux_logits": True},
    "inception_v3": {"init_weights": True, "aux_logits": False},  # its auxiliary head takes 299 x 299
}


def offered() -> list[str]:
    """The names of what may be drawn: every family but those that the zoo proves at length."""
    known = {model.name for model in TORCHVISION_MODELS} | set(_TOO_LONG)
    names = [name for room in _rooms() for name in library.list_models(module=room) if name not in known]
    return [name for name in names if _parameters(name) <= LARGEST]


def drawn(count: int, seed: int) -> list[ZooModel]:
    """Draws models without replacement."""
    return [
        ZooModel(name, partial(_make, name), _inputs(name)) for name in random.Random(seed).sample(offered(), count)
    ]


def _rooms() -> tuple[Any, ...]:
    return library, library.segmentation, library.video


def _parameters(name: str) -> int:
    return int(library.get_model_weights(name).DEFAULT.meta["num_params"])


def _is_of(name: str, room: Any) -> bool:
    return name in library.list_models(module=room)


def _make(name: str) -> nn.Module:
    arguments = {"weights": None, "num_classes": CLASSES, **_ARGUMENTS.get(name, {})}
    if _is_of(name, library.segmentation):
        arguments["weights_backbone"] = None
    model: nn.Module = library.get_model(name, **arguments)
    return model.train()


def _inputs(name: str) -> Callable[[torch.Generator], tuple[Tensor]]:
    default = (2, 3, 4, 32, 32) if _is_of(name, library.video) else (2, 3, 64, 64)
    shape = _FIXED_SIZES.get(name, default)
    return lambda generator: (torch.randn(shape, generator=generator),)
