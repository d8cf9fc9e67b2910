"""The numbers of the lanes' optimizers: what the schedules say, times what the parametrization says.

Legend: T parameters, R parameter groups, G lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hydro.tuner.training.models import LaneModel
from hydro.tuner.training.schedules import LaneSchedule, Numbers

if TYPE_CHECKING:
    from hydro.tuner.shrinking.parametrization import Factors


def scaled(numbers: Numbers, factors: Factors | None) -> Numbers:
    """Gives a parameter group's settings times a parameter's factors; what has no factor stays."""
    return numbers if factors is None else factors.scaled(numbers)


class LaneNumbers:
    """One lane's numbers, by parameter."""

    def __init__(self, model: LaneModel, schedule: LaneSchedule) -> None:
        names = schedule.group_names(model.template)
        self.schedule = schedule
        self.group_of = {name: group for group, members in enumerate(names) for name in members}
        groups, kind = schedule.groups(), schedule.optimizer_type
        self._factors = {name: model.factors(name, kind, groups[group]) for name, group in self.group_of.items()}

    def options(self) -> dict[str, Numbers]:
        """Gives each parameter's settings now."""
        groups = self.schedule.groups()
        return {name: scaled(groups[group], self._factors[name]) for name, group in self.group_of.items()}

    def rate_factors(self) -> list[float]:
        """Gives what multiplies each parameter's learning rate."""
        return [1.0 if factors is None else float(factors.lr) for factors in self._factors.values()]


class RateTable:
    """The learning rates of all lanes, by few tensor operations: a schedule changes them at every step."""

    def __init__(self, lanes: Sequence[LaneNumbers]) -> None:
        self._lanes = lanes
        self._group_TG = torch.tensor([list(lane.group_of.values()) for lane in lanes]).T
        self._factor_TG = torch.tensor([lane.rate_factors() for lane in lanes], dtype=torch.float64).T

    def rates(self) -> Tensor:
        """Gives the learning rates now.

        Shape: [T, G], float64, parameters in the order of their groups.
        """
        rate_RG = torch.tensor([lane.schedule.rates() for lane in self._lanes], dtype=torch.float64).T
        return rate_RG.gather(0, self._group_TG) * self._factor_TG
