"""Means of validation metrics over batches of different length."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class SampleAverages:
    """Averages metrics over batches by their number of samples.

    Shape: metrics of one model are scalars, those of G lanes [G].
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._samples = 0

    def add(self, metrics: Mapping[str, Tensor], samples: int) -> None:
        """Takes in one batch's means."""
        for name, value in metrics.items():
            weighted = value.detach().to(torch.float64) * samples
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
        self._samples += samples

    def means(self) -> dict[str, Tensor]:
        """Gives the means over all samples.

        Raises:
            ValueError: There was no batch.
        """
        if self._samples == 0:
            raise ValueError("validation_batches(hp) gave no batch: give at least one")
        return {name: total.cpu() / self._samples for name, total in self._sums.items()}
