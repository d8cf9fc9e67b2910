"""How an optimizer's numbers change when a step has more samples: a larger batch, or more processes.

Rules of thumb, and no transfer: they hold for a constant number of samples, far below the critical batch size.
SGD: the learning rate goes with the batch (Goyal et al. 2017, arXiv:1706.02677). Optimizers that normalize gradients:
learning rates go with its root, one minus each beta with the batch, eps with one over the root (Malladi et al. 2022,
arXiv:2205.10287, Definitions 2.3 and 4.1). Decay per epoch stays: lr x weight_decay goes with the batch
(arXiv:2405.13698).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_LINEAR = ("SGD", "Adadelta")
_ROOT = ("Adam", "AdamW", "RMSprop", "Adagrad", "Adafactor")
_DECOUPLED = ("AdamW", "Adafactor")
_AVERAGES = ("betas.0", "betas.1", "alpha")


@dataclass(frozen=True, slots=True)
class Rescaled:
    """Values that changed, how, and what the user should know."""

    values: Mapping[str, float] = field(default_factory=dict)
    explanations: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchChange:
    """Samples of a step after over before, and the family of the optimizer (the table's name: "AdamW")."""

    ratio: float
    optimizer_family: str

    def rescaled(self, hyperparameters: Mapping[str, Any], options: Mapping[str, Sequence[str]]) -> Rescaled:
        """The hyperparameters that a change of the batch changes.

        Args:
            hyperparameters: With the values before.
            options: By hyperparameter, the optimizer's options that it is.
        """
        if self.ratio == 1:
            return Rescaled()
        named = {option: name for name, found in options.items() for option in found}
        rules = self._rules()
        values, explanations = {}, {}
        for option, how in rules.items():
            if option in named:
                name = named[option]
                values[name] = self._changed(option, float(hyperparameters[name]))
                explanations[name] = f"the batch is {self.ratio:g} times as large: {how}"
        return Rescaled(values, explanations, self._warnings(rules, named))

    def _rules(self) -> dict[str, str]:
        """By option, the rule in words."""
        if self.optimizer_family in _LINEAR:
            return {"lr": "the learning rate goes with it (arXiv:1706.02677)"}
        if self.optimizer_family not in _ROOT:
            return {}
        averages = dict.fromkeys(_AVERAGES, "one minus it goes with the batch (arXiv:2205.10287)")
        decay = {"weight_decay": "lr x weight_decay goes with it (arXiv:2405.13698)"}
        return {
            "lr": "the learning rate goes with its root (arXiv:2205.10287)",
            **({} if self.optimizer_family in ("Adagrad", "Adafactor") else averages),
            "eps": "eps goes with one over its root (arXiv:2205.10287)",
            **(decay if self.optimizer_family in _DECOUPLED else {}),
        }

    def _changed(self, option: str, value: float) -> float:
        root = math.sqrt(self.ratio)
        match option:
            case "lr":
                return value * (self.ratio if self.optimizer_family in _LINEAR else root)
            case "eps":
                return value / root
            case "weight_decay":
                return value * root
            case _:
                return max(0.0, 1 - (1 - value) * self.ratio)

    def _warnings(self, rules: Mapping[str, str], named: Mapping[str, str]) -> tuple[str, ...]:
        change = f"a step of the target has {self.ratio:g} times the surrogate's samples"
        if not rules:
            return (f"{change}, and {self.optimizer_family or 'the optimizer'} has no rule for that: tune it again",)
        missing = [option for option in rules if option not in named and option not in _AVERAGES]
        by_hand = f"; {', '.join(missing)} of the task's own should follow the same rules" if missing else ""
        return (f"{change}: its numbers follow rules of thumb, which hold below the critical batch size{by_hand}",)


SAME_BATCH = BatchChange(1.0, "")
