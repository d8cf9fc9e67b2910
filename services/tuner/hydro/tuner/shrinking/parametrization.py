"""The table at work: factors by parameter name, beside the model and never on its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from hydro.kit.errors import InvalidArgument
from hydro.tuner.shrinking.classification import Classified
from hydro.tuner.shrinking.optimizer_families import coupled_weight_decay, family_of
from hydro.tuner.shrinking.rule_table import MUP, TRAINED, Exponents, OptimizerFamily, Row, goes_by_elements, table
from hydro.tuner.shrinking.scaled_step import scale_steps

Shape = tuple[int, ...]

_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names that DDP, torch.compile, FSDP and activation checkpointing put between those of modules."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What a parameter's own numbers are multiplied by on the surrogate."""

    lr: float = 1.0
    weight_decay: float = 1.0
    eps: float = 1.0
    floor: float = 1.0
    """Of Adafactor's lower bound on the tensor's own size."""
    squares: float = 1.0
    """Of the sum of squared gradients that Adagrad starts with."""

    def scaled(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """A parameter group's options with the factors in them; what has no factor stays."""
        named: dict[str, float | tuple[float, ...]] = {
            "lr": self.lr, "weight_decay": self.weight_decay, "lambd": self.weight_decay, "eps": self.eps,
            "step_sizes": (self.lr, self.lr), "initial_accumulator_value": self.squares,
        }  # fmt: skip
        if isinstance(options.get("eps"), (tuple, list)):
            named["eps"] = (self.eps, self.floor)
        return {**options, **{name: _times(options[name], named[name]) for name in named if name in options}}

    def scale_initial_state(self, slots: Mapping[str, Any]) -> None:
        """Multiplies, in place, what an optimizer fills in when it is made: Adagrad its sums of squares."""
        if "sum" in slots:
            slots["sum"].mul_(self.squares)


@dataclass(frozen=True)
class Parametrization:
    """The class and ratios of every parameter, by its name in the model; tied ones under each of their names."""

    parameters: Mapping[str, Classified]
    shapes: Mapping[str, tuple[Shape, Shape]] = field(default_factory=dict)
    """Of the target and of the surrogate: Muon's own factors go by them."""
    feature_learning: float = MUP
    """The family's p (see `rule_table`)."""
    gradient_ratios: Mapping[str, float] = field(default_factory=dict)
    """By how much larger a parameter's gradient is for the depth's sake alone; of those in a stack that was cut."""

    def row(self, name: str, optimizer_type: type[Optimizer], options: Mapping[str, Any] | None = None) -> Row | None:
        """The parameter's row of the table; None for one that does not shrink.

        Raises:
            UnknownOptimizer: the optimizer is not in the table, and a probe of it fails.
        """
        tensor_class = self.parameters[name].tensor_class
        if tensor_class not in TRAINED:
            return None
        return table(self.feature_learning)[tensor_class, family_of(optimizer_type, options)]

    def factors(self, name: str, optimizer_type: type[Optimizer], options: Mapping[str, Any] | None = None) -> Factors:
        """What the parameter's numbers are multiplied by.

        Args:
            name: The parameter's.
            optimizer_type: The user's choice.
            options: Of the parameter's group in the optimizer; what is left out has torch's default.

        Raises:
            UnknownOptimizer: the optimizer is not in the table, and a probe of it fails.
            CoupledWeightDecay: the group has a weight decay that no factor makes transfer.
        """
        of_width = self._factors_of_width(name, optimizer_type, options or {})
        ratio = self.gradient_ratios.get(name, 1.0)
        return of_width if ratio == 1 else _deeper(of_width, ratio, family_of(optimizer_type, options))

    def _factors_of_width(self, name: str, optimizer_type: type[Optimizer], options: Mapping[str, Any]) -> Factors:
        row, each = self.row(name, optimizer_type, options), self.parameters[name]
        if row is None:
            return Factors()
        shape_factor, decay = self._shape_factor(name, optimizer_type, options), 1.0
        if row.weight_decay is not None:
            decay = _power(each, row.weight_decay) / shape_factor
        elif (asked := float(options.get("weight_decay", 0.0))) != 0:
            raise coupled_weight_decay(optimizer_type, asked)
        lr = _power(each, row.lr) * shape_factor
        eps, floor = _power(each, row.eps), _power(each, row.floor)
        is_adagrad = family_of(optimizer_type, options) is OptimizerFamily.ADAGRAD
        return Factors(lr, decay, eps, floor, eps**2 if is_adagrad else 1.0)

    def initial_std_factor(self, name: str) -> float:
        """What the standard deviation of the target's initial values is multiplied by."""
        row = self.row(name, torch.optim.SGD)
        return 1.0 if row is None else _power(self.parameters[name], row.initial_std)

    def forward_multiplier(self, name: str, contracted_ratio: float) -> float:
        """What an activation is multiplied by before it meets the tensor; `contracted_ratio` is one for a look-up."""
        row = self.row(name, torch.optim.SGD)
        return 1.0 if row is None else float(contracted_ratio ** row.multiplier[0])

    def apply(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Has the optimizer step each parameter with its group's numbers times the parameter's factors.

        The groups themselves stay as they are, so schedulers work as on the target, made before or after, and whether
        they multiply learning rates or set them.

        Raises:
            InvalidArgument: a parameter is not of the surrogate.
            UnknownOptimizer: the optimizer is not in the table, and a probe of it fails.
            CoupledWeightDecay: a group has a weight decay that no factor makes transfer.
        """
        names = {parameter: self._own_name(name) for name, parameter in model.named_parameters()}
        scale_steps(
            optimizer,
            {
                parameter: self.factors(names[parameter], type(optimizer), group)
                for group in optimizer.param_groups
                for parameter in group["params"]
            },
        )

    def _own_name(self, name: str) -> str:
        """A parameter's name in the model, from its name in what torch wrapped around the model or parts of it."""
        if name in self.parameters:
            return name
        own = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if own not in self.parameters:
            raise InvalidArgument(f"{name} is no parameter of the surrogate: give the model that was shrunk")
        return own

    def _shape_factor(self, name: str, optimizer_type: type[Optimizer], options: Mapping[str, Any]) -> float:
        """How much larger Muon's update of the target is than that of the surrogate, before any factor of ours."""
        if name not in self.shapes or family_of(optimizer_type, options) is not OptimizerFamily.MUON:
            return 1.0
        by_elements = goes_by_elements(self.parameters[name].tensor_class)
        target, surrogate = (
            _muon_update(shape, options.get("adjust_lr_fn"), by_elements=by_elements) for shape in self.shapes[name]
        )
        return target / surrogate


def _muon_update(shape: Shape, adjust_lr_fn: str | None, *, by_elements: bool) -> float:
    """The spectral norm of torch's update, or the size of its elements, at learning rate one.

    Source: torch/optim/_muon.py (`_adjust_lr`); a matrix of singular values one has elements of 1 / sqrt(longer side).
    """
    rows, columns = shape[0], math.prod(shape[1:])
    match adjust_lr_fn:
        case None | "original":
            adjusted = math.sqrt(max(1, rows / columns))
        case "match_rms_adamw":
            adjusted = 0.2 * math.sqrt(max(rows, columns))
        case _:
            adjusted = 1.0
    return adjusted / math.sqrt(max(rows, columns)) if by_elements else adjusted


def _deeper(of_width: Factors, ratio: float, family: OptimizerFamily) -> Factors:
    """The same with a gradient that is so much larger, and an update that is to stay.

    Source: CompleteP, arXiv:2505.01618, Table 1 at alpha = 1; SGD and Adadelta derived from update / gradient.
    """
    lr, eps = 1.0, ratio
    match family:
        case OptimizerFamily.SGD:
            lr, eps = 1 / ratio, 1.0
        case OptimizerFamily.ADADELTA:
            lr, eps = 1 / ratio, ratio**2
        case OptimizerFamily.ADAGRAD:
            return replace(of_width, eps=of_width.eps * ratio, squares=of_width.squares * ratio**2)
        case _:
            pass
    decay = of_width.weight_decay / lr
    return replace(of_width, lr=of_width.lr * lr, weight_decay=decay, eps=of_width.eps * eps)


def _times(value: Any, factor: float | tuple[float, ...]) -> Any:
    if isinstance(factor, tuple):
        return tuple(None if each is None else each * one for each, one in zip(value, factor, strict=True))
    return value * factor


def _power(each: Classified, exponents: Exponents) -> float:
    return float(each.fan_in_ratio ** exponents[0] * each.fan_out_ratio ** exponents[1])
