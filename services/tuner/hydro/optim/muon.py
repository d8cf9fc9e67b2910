"""Muon over lanes.

Legend: G lanes, R rows, C columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule

_SETTINGS = ("ns_a", "ns_b", "ns_c", "ns_steps", "eps")
_MATCHES_ADAMW = 1.0


class Muon(RowRule):
    """Grouped twin of torch.optim.Muon: every number may be a vector over lanes, `ns_steps` and `adjust_lr_fn` too.

    Its updates are orthogonalized in bfloat16, as torch's are: on a CPU lane by lane, by the very operations of torch,
    so that a lane's bits do not depend on how many there are; elsewhere all lanes of equal settings in one product.

    Source: torch/optim/_muon.py (`_single_tensor_muon`).
    """

    numbers = ("lr", "weight_decay", "momentum", "nesterov", *_SETTINGS, "adjust_lr_fn")
    pairs = {"ns_coefficients": ("ns_a", "ns_b", "ns_c")}  # noqa: RUF012
    codes = {"adjust_lr_fn": {None: 0.0, "original": 0.0, "match_rms_adamw": _MATCHES_ADAMW}}  # noqa: RUF012
    keeps_step = False

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-3,
        weight_decay: Number = 0.1,
        momentum: Number = 0.95,
        nesterov: Number = True,
        ns_coefficients: tuple[Number, Number, Number] = (3.4445, -4.775, 2.0315),
        eps: Number = 1e-7,
        ns_steps: Number = 5,
        adjust_lr_fn: str | Sequence[str | None] | None = None,
    ) -> None:
        """Takes torch's arguments; each is one value, or one per lane.

        Raises:
            ValueError: A parameter has not two axes beside the lanes'.
        """
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov, "eps": eps}
        coefficients = {"ns_coefficients": ns_coefficients, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        super().__init__(params, {**defaults, **coefficients})
        for name, parameter in self.parameters.items():
            if parameter.ndim != 3:
                raise ValueError(f"Muon takes matrices: of {name} each lane has the shape {tuple(parameter.shape[1:])}")

    def decoupled(self) -> Tensor:
        """Weights decay directly."""
        return torch.ones_like(self._numbers["lr"])

    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers alone."""
        super().refresh()
        matches = self._numbers["adjust_lr_fn"] == _MATCHES_ADAMW
        shapes = [parameter.shape[1:] for parameter in self._parameters]
        plain = torch.tensor([math.sqrt(max(1, rows / columns)) for rows, columns in shapes], dtype=torch.float64)
        like_adamw = torch.tensor([0.2 * math.sqrt(max(shape)) for shape in shapes], dtype=torch.float64)
        ratio = torch.where(matches, like_adamw[:, None], plain[:, None])
        self._step_size = self.write("step_size", -self._numbers["lr"] * ratio)
        self._share = self.write("share", 1 - self._numbers["momentum"])

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        buffer = self.slot("momentum_buffer")[row].lerp_(gradient, self._share[row])
        ahead = gradient.lerp(buffer, self.of("momentum", row))
        update_GRC = torch.where(self.of("nesterov", row) != 0, ahead, buffer)
        direction_GRC = torch.empty_like(update_GRC)
        for settings, lanes in self._alike(row, update_GRC.device.type == "cpu").items():
            direction_GRC[lanes] = orthogonalized(update_GRC[lanes], *settings[:5]).to(direction_GRC.dtype)
        self.with_decay(row, parameter, gradient)
        parameter.addcmul_(direction_GRC, self._step_size[row])

    def _alike(self, row: int, is_one_by_one: bool) -> dict[tuple[float, ...], list[int]]:
        parts: dict[tuple[float, ...], list[int]] = {}
        for lane in range(self.lanes):
            settings = tuple(self.number(name, row, lane) for name in _SETTINGS)
            parts.setdefault((*settings, lane) if is_one_by_one else settings, []).append(lane)
        return parts


def orthogonalized(matrix_GRC: Tensor, a: float, b: float, c: float, steps: float, eps: float) -> Tensor:
    """Gives a near-orthogonal matrix [G, R, C] in bfloat16, by Newton and Schulz's iteration."""
    x = matrix_GRC.bfloat16()
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(int(steps)):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
