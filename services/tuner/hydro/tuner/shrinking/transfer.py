"""What becomes of the surrogate's hyperparameters on the target.

The parametrization is anchored at the target, so whatever goes through the optimizer has the target's own value
already: it is the surrogate that trained with scaled ones. What regularizes, through the graph or the data, does not
transfer: its best value grows with the capacity. Source: TP-V, Table 1 and section 6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from hydro.tuner.planning.role import Role
from hydro.tuner.shrinking.batch_scaling import SAME_BATCH, BatchChange

Value = float | int | str | bool


class TransferKind(Enum):
    """What becomes of a hyperparameter."""

    TRANSFERRED = "TRANSFERRED"
    """The target gets the surrogate's value, which trained there as it is."""
    RESCALED = "RESCALED"
    """The surrogate trained each tensor with a multiple of it, or the batch changed."""
    NOT_TRANSFERABLE = "NOT_TRANSFERABLE"
    """The target has the task's default, or re-tunes it."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What becomes of one hyperparameter, and why."""

    hyperparameter: str
    kind: TransferKind
    explanation: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What a hyperparameter changes."""

    role: Role = Role.OPTIMIZER
    options: tuple[str, ...] = ()
    """Options of the optimizer's groups that it is: "lr", "betas.1"."""
    changes_data_alone: bool = False


@dataclass(frozen=True, slots=True)
class TransferredHyperparameters:
    """The target's hyperparameters; those that do not transfer are left out, so the task's defaults hold."""

    hyperparameters: Mapping[str, Value]
    transfers: tuple[Transfer, ...]
    warnings: tuple[str, ...] = ()


LEARNING_RATES = ("lr", "learning_rate")
"""Names that a learning rate goes by."""

_QUANTITIES = {
    "lr": "learning rate", "learning_rate": "learning rate", "weight_decay": "weight decay", "wd": "weight decay",
    "eps": "eps",
}  # fmt: skip

_DEFAULT_HOLDS = "the task's default holds, or it is re-tuned on the target"


def transfer_hyperparameters(
    hyperparameters: Mapping[str, Value],
    effects: Mapping[str, Effect],
    width: float,
    *,
    not_transferable: Collection[str] = (),
    fidelities: Collection[str] = (),
    batch: BatchChange = SAME_BATCH,
) -> TransferredHyperparameters:
    """Gives the target's hyperparameters and explains each.

    Args:
        hyperparameters: The surrogate's best.
        effects: What each changes; one that is missing counts as the optimizer's.
        width: Surrogate over target.
        not_transferable: Those that the search space marks so.
        fidelities: Those that make search trials cheaper (`data_fraction`): the target trains with the task's default.
        batch: How many more samples a step of the target has than one of the surrogate.
    """
    found = {name: effects.get(name, Effect()) for name in hyperparameters}
    transfers = list(describe_transfers(found, width, not_transferable, fidelities))
    left_out = {each.hyperparameter for each in transfers if each.kind is TransferKind.NOT_TRANSFERABLE}
    kept = {name: value for name, value in hyperparameters.items() if name not in left_out}
    options = {name: effects[name].options for name in kept if name in effects}
    rescaled = batch.rescaled(kept, options)
    for index, each in enumerate(transfers):
        if each.hyperparameter in rescaled.explanations:
            explanation = f"{each.explanation}; {rescaled.explanations[each.hyperparameter]}"
            transfers[index] = Transfer(each.hyperparameter, TransferKind.RESCALED, explanation)
    return TransferredHyperparameters(kept | dict(rescaled.values), tuple(transfers), rescaled.warnings)


def describe_transfers(
    effects: Mapping[str, Effect],
    width: float,
    not_transferable: Collection[str] = (),
    fidelities: Collection[str] = (),
) -> tuple[Transfer, ...]:
    """What will become of each hyperparameter on the target, and why."""
    return tuple(
        _described(name, effect, width, is_marked=name in not_transferable, is_fidelity=name in fidelities)
        for name, effect in effects.items()
    )


def _described(name: str, effect: Effect, width: float, *, is_marked: bool, is_fidelity: bool) -> Transfer:

    def stays(explanation: str) -> Transfer:
        return Transfer(name, TransferKind.NOT_TRANSFERABLE, f"{explanation}: {_DEFAULT_HOLDS}")

    if is_fidelity:
        explanation = "it makes search trials cheaper: the target trains with the task's default"
        return Transfer(name, TransferKind.NOT_TRANSFERABLE, explanation)
    if width == 1:
        return Transfer(name, TransferKind.TRANSFERRED, "the target itself was tuned")
    if is_marked:
        return stays("the search space marks it as not transferable")
    if effect.changes_data_alone:
        return stays(
            "it changes the training data alone (augmentation, sampling), and its best value grows with the capacity"
        )
    match effect.role:
        case Role.NUMERIC:
            return stays("it regularizes through the graph, and its best value grows with the capacity (TP-V, Table 1)")
        case Role.STRUCTURAL | Role.PADDED:
            explanation = (
                "surrogate and target have the same value; batch size transfers across width (TP-V, Table 1),"
                " choices of architecture by experience only"
            )
            return Transfer(name, TransferKind.TRANSFERRED, explanation)
        case Role.OPTIMIZER:
            return _through_optimizer(name, effect)


def _through_optimizer(name: str, effect: Effect) -> Transfer:
    found = (_QUANTITIES.get(each.partition(".")[0]) for each in effect.options or (name.lower(),))
    quantity = next((each for each in found if each is not None), None)
    if quantity is None:
        explanation = (
            "it goes through the optimizer or its schedule unscaled and transfers across width (TP-V, Table 1)"
        )
        return Transfer(name, TransferKind.TRANSFERRED, explanation)
    explanation = (
        f"the surrogate trained each tensor with this {quantity} times the table's factor for its class (TP-V, Tables 3"
        " and 8); at the target every factor is one"
    )
    return Transfer(name, TransferKind.RESCALED, explanation)
