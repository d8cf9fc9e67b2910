"""Normalizations over lanes.

Legend: G lanes, N batch, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as plain

from hydro.nn import functional
from hydro.nn.lane_module import LaneModule
from hydro.nn.packing import pack, unpack


class _BatchNorm(LaneModule):
    """A channel is normalized over its own samples, and lanes are more channels."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalizes each lane's channels, and in training counts them into its running statistics.

        Shape: [G, N, C, ...], or [G, N, C].
        """
        self._template[0]._check_input_dim(input[0])
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = self._average_share()
        uses_batch = self.training or self.running_mean is None
        keeps = self.track_running_stats or not self.training
        mean, variance = (self.running_mean, self.running_var) if keeps else (None, None)
        y = functional.batch_norm(
            pack(input), self.weight, self.bias, mean, variance, uses_batch, momentum or 0.0, self.eps
        )
        return unpack(y, len(input))

    def _average_share(self) -> float:
        counts = set(self.num_batches_tracked.tolist())
        if len(counts) != 1:
            raise NotImplementedError("momentum=None averages over all batches: the lanes must have seen equally many")
        return 1.0 / float(counts.pop())


class BatchNorm1d(_BatchNorm):
    """torch.nn.BatchNorm1d over lanes."""

    twin_of = nn.BatchNorm1d


class BatchNorm2d(_BatchNorm):
    """torch.nn.BatchNorm2d over lanes."""

    twin_of = nn.BatchNorm2d


class BatchNorm3d(_BatchNorm):
    """torch.nn.BatchNorm3d over lanes."""

    twin_of = nn.BatchNorm3d


class LayerNorm(LaneModule):
    """torch.nn.LayerNorm over lanes."""

    twin_of = nn.LayerNorm

    def forward(self, input: Tensor) -> Tensor:
        """Normalizes the last axes; gain and bias are the lane's own.

        Shape: [G, ..., *normalized_shape].
        """
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(LaneModule):
    """torch.nn.RMSNorm over lanes."""

    twin_of = nn.RMSNorm

    def forward(self, input: Tensor) -> Tensor:
        """Divides by the root of the mean square of the last axes; the gain is the lane's own.

        Shape: [G, ..., *normalized_shape].
        """
        y: Tensor = plain.rms_norm(input, self.normalized_shape, None, self.eps)
        if self.weight is None:
            return y
        between = (1,) * (input.ndim - self.weight.ndim)
        gain: Tensor = self.weight.view(len(input), *between, *self.normalized_shape)
        return y * gain


class GroupNorm(LaneModule):
    """torch.nn.GroupNorm over lanes: a group is normalized by itself, and lanes are more groups."""

    twin_of = nn.GroupNorm

    def forward(self, input: Tensor) -> Tensor:
        """Normalizes each group of channels of each lane.

        Shape: [G, N, C, ...].
        """
        gain, bias = (None if each is None else each.flatten() for each in (self.weight, self.bias))
        lanes = len(input)
        return unpack(plain.group_norm(pack(input), lanes * self.num_groups, gain, bias, self.eps), lanes)
