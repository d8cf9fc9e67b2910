"""Per-lane shadows: the user's optimizer and schedule on a template, stepped for their numbers alone.

A schedule is bound to one optimizer and changes its parameter groups. Each lane has such a pair of its own, made by the
task as for one model, whose optimizer never touches a weight; the numbers in its groups are what the lane's real update
uses, times the parametrization's factors.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from hydro.tuner.task import Hyperparameters, TrainingTask

Numbers: TypeAlias = dict[str, Any]
"""A parameter group's settings: lr, betas, weight_decay ..."""


class Change(Enum):
    """What a schedule's step did to the numbers."""

    NOTHING = 0
    LEARNING_RATES = 1
    OTHERS = 2
    """Momentum or betas, as cyclic schedules change them, or whatever a user's schedule writes."""


_NOT_NUMBERS = frozenset({"params", "param_names", "initial_lr"})
_WITHOUT_THE_RATE = _NOT_NUMBERS | {"lr"}
_SCALARS = frozenset({float, int, bool, type(None)})


class LaneSchedule:
    """The numbers that one lane's optimizer uses at its current step."""

    def __init__(self, task: TrainingTask, template: nn.Module, hyperparameters: Hyperparameters) -> None:
        self.optimizer = task.optimizer(template, hyperparameters)
        self._scheduler = task.lr_scheduler(self.optimizer, hyperparameters)
        if self._scheduler is not None:
            # No gradient, so nothing moves; torch warns of schedules whose optimizer has never stepped.
            self.optimizer.step()
        self._first_rates = self.rates()
        self._seen = self._current()

    @property
    def optimizer_type(self) -> type[Optimizer]:
        """The user's choice of optimizer."""
        return type(self.optimizer)

    def groups(self) -> list[Numbers]:
        """Gives each parameter group's settings now, in the user's order."""
        return [
            {name: _plain(value) for name, value in group.items() if name not in _NOT_NUMBERS}
            for group in self.optimizer.param_groups
        ]

    def group_names(self, template: nn.Module) -> list[list[str]]:
        """Gives the names of each group's parameters; tied ones under their first name."""
        names = {id(parameter): name for name, parameter in template.named_parameters()}
        return [[names[id(parameter)] for parameter in group["params"]] for group in self.optimizer.param_groups]

    def advance(self) -> Change:
        """Steps the schedule after an optimizer step."""
        if self._scheduler is None or isinstance(self._scheduler, ReduceLROnPlateau):
            return Change.NOTHING
        self._scheduler.step()
        return self._change()

    def observe(self, objective: float) -> Change:
        """Steps a plateau schedule after a validation."""
        if not isinstance(self._scheduler, ReduceLROnPlateau):
            return Change.NOTHING
        self._scheduler.step(objective)
        return self._change()

    def rates(self) -> list[float]:
        """Gives each parameter group's learning rate now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _change(self) -> Change:
        before, self._seen = self._seen, self._current()
        if before == self._seen:
            return Change.NOTHING
        return Change.LEARNING_RATES if before[1] == self._seen[1] else Change.OTHERS

    def _current(self) -> tuple[list[float], list[list[Any]]]:
        """Each group's learning rate, and its other settings; read at every step of every lane."""
        groups = self.optimizer.param_groups
        others = [
            [
                value if type(value) in _SCALARS else _plain(value)
                for name, value in group.items()
                if name not in _WITHOUT_THE_RATE
            ]
            for group in groups
        ]
        return [float(group.get("lr", 0.0)) for group in groups], others

    def state(self) -> Any:
        """Gives what a checkpoint keeps of it.

        Raises:
            TypeError: The schedule keeps something that cannot be stored.
        """
        if self._scheduler is None:
            return None
        initial = [group.get("initial_lr") for group in self.optimizer.param_groups]
        # Functions among a schedule's attributes (SWALR keeps one) come back with the schedule that the task makes.
        kept = {name: value for name, value in self._scheduler.state_dict().items() if not callable(value)}
        return {
            "scheduler": kept,
            "groups": self.groups(),
            "initial_lr": initial,
            "first_rates": self._first_rates,
        }

    def load(self, state: Any, *, steps: int = 0, is_changed: bool = False) -> None:
        """Goes on from `state`, after so many optimizer steps.

        Where it `is_changed`, the state is that of other hyperparameters: the schedule is where its own hyperparameters
        would have it after these steps. A plateau schedule keeps what it has seen, and has lowered its own learning
        rate by the factor by which the other one was.
        """
        if self._scheduler is None or state is None:
            return
        if is_changed:
            self._follow(self._scheduler, state, steps)
            self._seen = self._current()
            return
        self._scheduler.load_state_dict(state["scheduler"])
        for group, numbers, initial in zip(
            self.optimizer.param_groups, state["groups"], state["initial_lr"], strict=True
        ):
            group.update(numbers)
            if initial is not None:
                group["initial_lr"] = initial
        self._seen = self._current()

    def _follow(self, scheduler: LRScheduler, state: Any, steps: int) -> None:
        if not isinstance(scheduler, ReduceLROnPlateau):
            for _ in range(steps):
                scheduler.step()
            return
        for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
            setattr(scheduler, name, state["scheduler"][name])
        for group, numbers, first, least in zip(
            self.optimizer.param_groups, state["groups"], state["first_rates"], scheduler.min_lrs, strict=True
        ):
            group["lr"] = max(group["lr"] * (numbers["lr"] / first if first else 1.0), least)


def _plain(value: Any) -> Any:
    """A number may be a tensor that schedules fill in place: taken by value, so that a change shows."""
    if isinstance(value, Tensor):
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value
