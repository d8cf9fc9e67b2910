"""What a trial brings to a fused bundle, and what stays its own there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hydro.tuner.task import Hyperparameters
from hydro.tuner.training.checkpoint import LaneState, load_model
from hydro.tuner.training.lane import LaneSpec
from hydro.tuner.training.lane_random import initial_random_state, usable_random_state
from hydro.tuner.training.mixed_precision import loss_scaler
from hydro.tuner.training.models import ModelLibrary
from hydro.tuner.training.numbers import LaneNumbers
from hydro.tuner.training.placed_task import PlacedTask
from hydro.tuner.training.schedules import LaneSchedule


class FusedLane:
    """One trial's step, numbers and random numbers; its tensors until they are stacked."""

    def __init__(
        self, task: PlacedTask, spec: LaneSpec, library: ModelLibrary, parent: FusedLane | None = None
    ) -> None:
        """Builds the lane, or one that goes on where its parent is: that one's tensors are to be copied."""
        self._task = task
        self._own_hyperparameters = spec.hyperparameters
        self.trial = spec.trial
        self.step = spec.start_step
        self.hyperparameters: Hyperparameters = task.completed(spec.hyperparameters)
        self.model = library.model_for(self.hyperparameters)
        schedule = LaneSchedule(task, self.model.template, self.hyperparameters)
        self.numbers = LaneNumbers(self.model, schedule)
        self.generator = torch.Generator(task.device)
        self.generator.set_state(initial_random_state(spec.seed, task.device))
        self.loss_scale = loss_scaler(task).state_dict()
        self._optimizer_state: dict[str, dict[str, Any]] = {}
        self._module: nn.Module | None = None
        if parent is not None:
            self._succeed(parent)
            return
        self._module = self.model.fresh(spec.seed)
        if spec.state is not None:
            self._load(LaneState.from_bytes(spec.state, task.device, spec.start_step), spec, task.device)

    def steps_like(self, other: FusedLane) -> bool:
        """Says whether one grouped optimizer can step both."""
        mine, others = self.numbers, other.numbers
        return (
            mine.schedule.optimizer_type is others.schedule.optimizer_type
            and list(mine.group_of) == list(others.group_of)
            and self._shapes() == other._shapes()
        )

    def take_module(self) -> nn.Module:
        """Gives the lane's own model, once: its tensors move to the stack."""
        module, self._module = self._module, None
        if module is None:
            raise RuntimeError(f"{self.trial} is in its bundle already")
        return module

    def make_optimizer(self, leaves: Mapping[str, Tensor]) -> Optimizer:
        """Gives the optimizer that the task makes for a model with these leaves as its parameters."""
        with _standing_in(self.model.template, leaves):
            return self._task.optimizer(self.model.template, self.hyperparameters)

    def take_optimizer_state(self) -> dict[str, dict[str, Any]]:
        """Gives what the checkpoint kept of the optimizer, once."""
        state, self._optimizer_state = self._optimizer_state, {}
        return state

    def state(self, model: dict[str, Tensor], optimizer: dict[str, dict[str, Any]]) -> LaneState:
        """Gives everything that the lane is, with copies of its tensors."""
        schedule, random_state = self.numbers.schedule.state(), self.generator.get_state()
        hyperparameters = self._own_hyperparameters
        return LaneState(self.step, model, optimizer, random_state, schedule, self.loss_scale, hyperparameters)

    def _succeed(self, parent: FusedLane) -> None:
        if not self.steps_like(parent):
            raise ValueError(
                f"{self.trial} cannot go on from {parent.trial}: with its hyperparameters the model has other "
                "parameters, or another optimizer"
            )
        mine, others = self._own_hyperparameters, parent.state({}, {})
        self.step, self.loss_scale = parent.step, dict(parent.loss_scale)
        schedule = self.numbers.schedule
        schedule.load(others.schedule, steps=parent.step, is_changed=not others.is_trained_with(mine))
        self.generator.set_state(others.rng)

    def _shapes(self) -> list[tuple[str, torch.Size]]:
        return [(name, parameter.shape) for name, parameter in self.model.template.named_parameters()]

    def _load(self, state: LaneState, spec: LaneSpec, device: torch.device) -> None:
        if self._module is not None:
            load_model(self._module, state.model, spec.trial)
        self._optimizer_state = state.optimizer
        is_changed = not state.is_trained_with(spec.hyperparameters)
        self.numbers.schedule.load(state.schedule, steps=state.step, is_changed=is_changed)
        self.loss_scale = state.loss_scale or self.loss_scale
        self.generator.set_state(usable_random_state(state.rng, spec.seed, state.step, device))


@contextmanager
def _standing_in(model: nn.Module, leaves: Mapping[str, Tensor]) -> Iterator[None]:
    """The leaves are the model's parameters, tied ones too, for as long as it lasts."""
    new = {id(parameter): leaves[name] for name, parameter in model.named_parameters() if name in leaves}
    places = [
        (module.__dict__["_parameters"], name, parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if id(parameter) in new
    ]
    for parameters, name, parameter in places:
        parameters[name] = new[id(parameter)]
    try:
        yield
    finally:
        for parameters, name, parameter in places:
            parameters[name] = parameter
