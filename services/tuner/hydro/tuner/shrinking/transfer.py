"""What becomes of the surrogate's hyperparameters on the target.

The parametrization is anchored at the target, so whatever goes through the optimizer has the target's own value
already: it is the surrogate that trained with scaled ones. What regularizes through the graph does not transfer: its
best value grows with the capacity. Source: TP-V, Table 1 and section 6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from hydro.tuner.planning.role import Role

Value = float | int | str | bool


class TransferKind(Enum):
    """What became of a hyperparameter."""

    TRANSFERRED = "TRANSFERRED"
    RESCALED = "RESCALED"
    """The target gets the value; the surrogate trained each tensor with a multiple of it."""
    NOT_TRANSFERABLE = "NOT_TRANSFERABLE"


@dataclass(frozen=True, slots=True)
class Transfer:
    """What became of one hyperparameter, and why."""

    hyperparameter: str
    kind: TransferKind
    explanation: str


@dataclass(frozen=True, slots=True)
class TransferredHyperparameters:
    """The target's hyperparameters; those that do not transfer are left out, so the task's defaults hold."""

    hyperparameters: Mapping[str, Value]
    transfers: tuple[Transfer, ...]


LEARNING_RATES = ("lr", "learning_rate")
"""Names that a learning rate goes by."""

_SCALED = {
    "lr": "learning rate", "learning_rate": "learning rate", "weight_decay": "weight decay", "wd": "weight decay",
    "eps": "eps",
}  # fmt: skip


def transfer_hyperparameters(
    hyperparameters: Mapping[str, Value],
    roles: Mapping[str, Role],
    width: float,
    not_transferable: Collection[str] = (),
) -> TransferredHyperparameters:
    """Gives the target's hyperparameters and explains each.

    Args:
        hyperparameters: The surrogate's best.
        roles: What each changes; one that is missing counts as the optimizer's.
        width: Surrogate over target.
        not_transferable: Those that the search space marks so.
    """
    transfers = tuple(
        _transfer(name, roles.get(name, Role.OPTIMIZER), width, name in not_transferable) for name in hyperparameters
    )
    left_out = {each.hyperparameter for each in transfers if each.kind is TransferKind.NOT_TRANSFERABLE}
    kept = {name: value for name, value in hyperparameters.items() if name not in left_out}
    return TransferredHyperparameters(kept, transfers)


def _transfer(name: str, role: Role, width: float, is_marked: bool) -> Transfer:
    if width == 1:
        return Transfer(name, TransferKind.TRANSFERRED, "the target itself was tuned")
    if is_marked:
        explanation = "the search space marks it as not transferable: the task's default holds"
        return Transfer(name, TransferKind.NOT_TRANSFERABLE, explanation)
    match role:
        case Role.NUMERIC:
            explanation = (
                "it regularizes through the graph, and its best value grows with the capacity (TP-V, Table 1):"
                " the task's default holds"
            )
            return Transfer(name, TransferKind.NOT_TRANSFERABLE, explanation)
        case Role.STRUCTURAL | Role.PADDED:
            explanation = (
                "surrogate and target have the same value; batch size transfers across width (TP-V, Table 1),"
                " choices of architecture by experience only"
            )
            return Transfer(name, TransferKind.TRANSFERRED, explanation)
        case Role.OPTIMIZER:
            return _through_optimizer(name)


def _through_optimizer(name: str) -> Transfer:
    quantity = _SCALED.get(name.lower())
    if quantity is None:
        explanation = (
            "it goes through the optimizer or its schedule unscaled and transfers across width (TP-V, Table 1)"
        )
        return Transfer(name, TransferKind.TRANSFERRED, explanation)
    explanation = (
        f"the surrogate trained each tensor with this {quantity} times muP's factor for its class (TP-V, Table 3);"
        " at the target every factor is one"
    )
    return Transfer(name, TransferKind.RESCALED, explanation)
