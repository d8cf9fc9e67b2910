"""Models of torchvision through its own constructors, with fewer blocks, narrower, and for small images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.shufflenetv2 import ShuffleNetV2
from torchvision.models.vgg import VGG, make_layers
from torchvision.models.vision_transformer import VisionTransformer

from zoo.model import ZooModel

CLASSES = 5
SAMPLES = 4
PIXELS = 32


def images(generator: torch.Generator) -> tuple[Tensor]:
    """One batch [4, 3, 32, 32]."""
    return (torch.randn(SAMPLES, 3, PIXELS, PIXELS, generator=generator),)


def resnet18() -> nn.Module:
    """One basic block for each resolution."""
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)


def wide_resnet50_2() -> nn.Module:
    """One bottleneck for each resolution, twice as wide inside as `width_per_group` 8 would be."""
    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, width_per_group=16)


def resnext50_32x4d() -> nn.Module:
    """One bottleneck of four groups for each resolution."""
    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, groups=4, width_per_group=4)


def mobilenet_v3_small(width: float = 1.0) -> nn.Module:
    """A block of each kind: squeeze-excite with ReLU, expansion alone, squeeze-excite with Hardswish."""
    block = partial(InvertedResidualConfig, width_mult=width)
    blocks = [
        block(16, 3, 16, 16, True, "RE", 2, 1),
        block(16, 3, 72, 24, False, "RE", 2, 1),
        block(24, 5, 96, 24, True, "HS", 1, 1),
    ]
    return MobileNetV3(blocks, last_channel=round(64 * width), num_classes=CLASSES, dropout=0.2)


def convnext_tiny(width: float = 1.0) -> nn.Module:
    """Three resolutions with stochastic depth."""
    channels = [round(each * width) for each in (16, 32, 64)]
    stages = zip(channels, [*channels[1:], None], (1, 2, 1), strict=True)
    return ConvNeXt([CNBlockConfig(*stage) for stage in stages], stochastic_depth_prob=0.4, num_classes=CLASSES)


def densenet121(width: float = 1.0) -> nn.Module:
    """Two dense blocks of two layers with dropout."""
    growth, features = round(8 * width), round(16 * width)
    return DenseNet(growth, (2, 2), features, drop_rate=0.2, num_classes=CLASSES)


def vit_b_16(width: float = 1.0) -> nn.Module:
    """Two layers over sixteen patches, dropout in both the residual branches and attention."""
    return VisionTransformer(
        PIXELS, 8, num_layers=2, num_heads=round(2 * width), hidden_dim=round(32 * width), mlp_dim=round(64 * width),
        dropout=0.1, attention_dropout=0.1, num_classes=CLASSES,
    )  # fmt: skip


def vgg11(width: float = 1.0) -> nn.Module:
    """Four convolutions, and its classifier on one pixel, narrower: the library's own has 100 million weights."""
    with torch.device("meta"):
        model = VGG(nn.Identity(), num_classes=CLASSES, init_weights=False)
    channels = [round(each * width) for each in (8, 16, 32, 32)]
    model.features = make_layers([channels[0], "M", channels[1], "M", *channels[2:], "M"])
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    hidden = round(64 * width)
    model.classifier = nn.Sequential(
        nn.Linear(channels[-1], hidden), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(hidden, hidden), nn.ReLU(True),
        nn.Dropout(0.5), nn.Linear(hidden, CLASSES),
    )  # fmt: skip
    return model


def shufflenet_v2_x1_0(width: float = 1.0) -> nn.Module:
    """Two units for each resolution, channels shuffled between branches."""
    return ShuffleNetV2([2, 2, 2], [round(each * width) for each in (8, 16, 32, 64, 128)], num_classes=CLASSES)


_SCALABLE: tuple[Callable[..., nn.Module], ...] = (
    mobilenet_v3_small, convnext_tiny, densenet121, vit_b_16, vgg11, shufflenet_v2_x1_0,
)  # fmt: skip

TORCHVISION_MODELS = (
    *(ZooModel(make.__name__, make, images) for make in (resnet18, wide_resnet50_2, resnext50_32x4d)),
    *(ZooModel(make.__name__, make, images, make) for make in _SCALABLE),
)
"""Those that fusing and shrinking are proved on."""
