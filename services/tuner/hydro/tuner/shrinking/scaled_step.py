"""An optimizer that steps each parameter with factors of its own, and shows its user the groups they made.

Only for the time of a step are the groups split. So whatever else looks at them, schedulers above all, finds the
user's own numbers, in the user's own groups, and may change them as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from hydro.kit.errors import FailedPrecondition

_FACTORS = "_factors_of_parameters"

_TRACKED = "_wrapped_by_lr_sched"
"""How schedulers know a step that sets `_opt_called`, by which they tell whether the optimizer has stepped."""


class Scaling(Protocol):
    """What multiplies a group's options; equal ones share a group."""

    def scaled(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, multiplied."""
        ...

    def scale_initial_state(self, slots: Mapping[str, Any]) -> None:
        """Multiplies, in place, what the optimizer filled in for a parameter when it was made."""
        ...


def split_groups(groups: list[dict[str, Any]], factors: Mapping[Tensor, Scaling]) -> list[dict[str, Any]]:
    """The groups, each split where its parameters' factors differ, with the factors in their numbers."""
    split = []
    for group in groups:
        parts: dict[Scaling, list[Tensor]] = {}
        for parameter in group["params"]:
            parts.setdefault(factors[parameter], []).append(parameter)
        split += [{**each.scaled(group), "params": members} for each, members in parts.items()]
    return split


def scale_steps(optimizer: Optimizer, factors: Mapping[Tensor, Scaling]) -> None:
    """Has every step use the factors. Copies and pickles of the optimizer have them too."""
    is_first = _FACTORS not in vars(optimizer)
    vars(optimizer)[_FACTORS] = dict(factors)
    if not is_first:
        return
    for parameter, each in factors.items():
        each.scale_initial_state(optimizer.state.get(parameter, {}))
    if hasattr(vars(optimizer).get("step"), _TRACKED):
        # A scheduler's wrapper of the step as it was; the new one tells schedulers itself.
        del vars(optimizer)["step"]
    # A class, and not a hook, which copies of an optimizer would silently lack.
    optimizer.__class__ = _scaled_type(type(optimizer))


def _scaled_type(optimizer_type: type[Optimizer]) -> type[Optimizer]:
    def step(self: Optimizer, closure: Callable[[], float] | None = None) -> Any:
        vars(self)["_opt_called"] = True
        with _split(self):
            return optimizer_type.step(self) if closure is None else optimizer_type.step(self, closure)

    def reduce(self: Optimizer, protocol: Any) -> Any:
        state = {**self.__getstate__(), _FACTORS: vars(self)[_FACTORS]}
        return _empty, (optimizer_type,), state

    # torch wraps `step` of every class for its own hooks; the parent's is wrapped already.
    vars(step).update({"hooked": True, _TRACKED: True})
    members = {"step": step, "__reduce_ex__": reduce, "__module__": optimizer_type.__module__}
    return type(optimizer_type.__name__, (optimizer_type,), members)


def _empty(optimizer_type: type[Optimizer]) -> Optimizer:
    scaled = _scaled_type(optimizer_type)
    return scaled.__new__(scaled)


@contextmanager
def _split(optimizer: Optimizer) -> Iterator[None]:
    groups, factors = optimizer.param_groups, vars(optimizer)[_FACTORS]
    if any(parameter not in factors for group in groups for parameter in group["params"]):
        raise FailedPrecondition(
            "the optimizer got parameters after the parametrization was applied to it: apply it when all are there"
        )
    optimizer.param_groups = split_groups(groups, factors)
    try:
        yield
    finally:
        optimizer.param_groups = groups
