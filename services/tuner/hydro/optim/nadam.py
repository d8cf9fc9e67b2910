"""NAdam over lanes."""

from __future__ import annotations

from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule


class NAdam(RowRule):
    """Grouped twin of torch.optim.NAdam: every number may be a vector over lanes, and so is the step count.

    Source: torch/optim/nadam.py (`_single_tensor_nadam`).
    """

    numbers = ("lr", "beta1", "beta2", "eps", "weight_decay", "momentum_decay", "decoupled_weight_decay", "maximize")
    scalars = {"mu_product": 1.0}  # noqa: RUF012

    def __init__(
        self,
        params: Parameters,
        lr: Number = 2e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        momentum_decay: Number = 4e-3,
        decoupled_weight_decay: Number = False,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        decays = {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, {**defaults, **decays})

    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers alone."""
        super().refresh()
        self._first_share = self.write("first_share", 1 - self._numbers["beta1"])
        self._second_share = self.write("second_share", 1 - self._numbers["beta2"])

    def prepare(self) -> None:
        """Writes the corrections; the product of the momenta is rounded as torch keeps it."""
        beta1, beta2, rate = (self._numbers[name] for name in ("beta1", "beta2", "lr"))
        decay = self._numbers["momentum_decay"]
        momentum = beta1 * (1 - 0.5 * 0.96 ** (self._steps * decay))
        next_momentum = beta1 * (1 - 0.5 * 0.96 ** ((self._steps + 1) * decay))
        product = self._scalars["mu_product"]
        product.copy_(product.mul(momentum.to(product.dtype)).where(self._counted, product))
        now = product.double()
        self._correction = self.write("correction", 1 - beta2**self._steps)
        self._gradient_size = self.write("gradient_size", -rate * (1 - momentum) / (1 - now))
        self._moment_size = self.write("moment_size", -rate * next_momentum / (1 - now * next_momentum))

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        gradient = self.with_decay(row, parameter, gradient)
        first, second = self.slot("exp_avg")[row], self.slot("exp_avg_sq")[row]
        first.lerp_(gradient, self._first_share[row])
        second.mul_(self.of("beta2", row)).addcmul_(gradient * self._second_share[row], gradient)
        scale = second.div(self._correction[row]).sqrt_().add_(self.of("eps", row))
        parameter.addcdiv_(gradient * self._gradient_size[row], scale)
        parameter.addcdiv_(first * self._moment_size[row], scale)
