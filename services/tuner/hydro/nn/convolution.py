"""Convolutions over lanes.

Legend: G lanes, N batch, C channels. Between layers the channels of all lanes stay packed in memory, [N, G*C, ...]:
what goes in and out is a view of that with the lane axis first.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as plain

from hydro.nn.lane_convolution import convolution
from hydro.nn.lane_module import LaneModule
from hydro.nn.packing import pack, unpack


class _Convolution(LaneModule):
    """A group of channels for each lane: its filters meet that lane's channels only, so it is exact."""

    convolve: Any

    def forward(self, input: Tensor) -> Tensor:
        """Convolves each lane's input with its filters.

        Shape: [G, N, C, ...] to [G, N, O, ...].
        """
        bias = None if self.bias is None else self.bias.flatten()
        x, padding = pack(input), self.padding
        if self.padding_mode != "zeros":
            x, padding = plain.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        geometry = {"stride": self.stride, "padding": padding, "dilation": self.dilation}
        given = (x, self.weight.flatten(0, 1), bias, self.lanes, self.groups)
        return unpack(convolution(type(self).convolve, *given, **geometry), self.lanes)


class Conv1d(_Convolution):
    """torch.nn.Conv1d over lanes."""

    twin_of = nn.Conv1d
    convolve = staticmethod(plain.conv1d)


class Conv2d(_Convolution):
    """torch.nn.Conv2d over lanes."""

    twin_of = nn.Conv2d
    convolve = staticmethod(plain.conv2d)


class Conv3d(_Convolution):
    """torch.nn.Conv3d over lanes."""

    twin_of = nn.Conv3d
    convolve = staticmethod(plain.conv3d)


class _TransposedConvolution(LaneModule):
    """A group of channels for each lane."""

    convolve: Any
    axes: int

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolves each lane's input with its filters.

        Shape: [G, N, C, ...] to [G, N, O, ...]; `output_size` is that of one lane's output, or of its last axes.
        """
        geometry = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        geometry["output_padding"] = self._template[0]._output_padding(
            input[0], output_size, self.stride, self.padding, self.kernel_size, self.axes, self.dilation
        )
        bias = None if self.bias is None else self.bias.flatten()
        given = (pack(input), self.weight.flatten(0, 1), bias, self.lanes, self.groups)
        return unpack(convolution(type(self).convolve, *given, **geometry), self.lanes)


class ConvTranspose1d(_TransposedConvolution):
    """torch.nn.ConvTranspose1d over lanes."""

    twin_of = nn.ConvTranspose1d
    convolve = staticmethod(plain.conv_transpose1d)
    axes = 1


class ConvTranspose2d(_TransposedConvolution):
    """torch.nn.ConvTranspose2d over lanes."""

    twin_of = nn.ConvTranspose2d
    convolve = staticmethod(plain.conv_transpose2d)
    axes = 2


class ConvTranspose3d(_TransposedConvolution):
    """torch.nn.ConvTranspose3d over lanes."""

    twin_of = nn.ConvTranspose3d
    convolve = staticmethod(plain.conv_transpose3d)
    axes = 3
