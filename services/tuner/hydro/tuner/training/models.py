"""The models that a bundle's lanes train: targets or surrogates, built once for trials that do not differ in them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from hydro.tuner.task import Hyperparameters
from hydro.tuner.training.placed_task import PlacedTask
from hydro.tuner.training.reads import HyperparameterReads, ReadValues

if TYPE_CHECKING:
    from hydro.tuner.shrinking.parametrization import Factors
    from hydro.tuner.shrinking.shrink import ShrunkModel
    from hydro.tuner.shrinking.solution import Solution


class LaneModel(Protocol):
    """A model without weights of its own, so to say: lanes that share it each bring theirs."""

    @property
    def template(self) -> nn.Module:
        """Has the parameter and buffer names of the user's model; its values mean nothing."""
        ...

    def fresh(self, seed: int) -> nn.Module:
        """Gives a model of its own with initial weights."""
        ...

    def factors(self, parameter: str, optimizer_type: type[Optimizer], options: Mapping[str, Any]) -> Factors | None:
        """What the parametrization multiplies the parameter's group's options by; None: by nothing."""
        ...


class _Target:
    def __init__(self, task: PlacedTask, hyperparameters: Hyperparameters) -> None:
        self._task = task
        self._hyperparameters = hyperparameters
        self.template: nn.Module = self.fresh(seed=0)

    def fresh(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=_generator_devices(self._task.device)):
            torch.manual_seed(seed)
            return self._task.model(self._hyperparameters)

    def factors(self, parameter: str, optimizer_type: type[Optimizer], options: Mapping[str, Any]) -> Factors | None:
        return None


class _Surrogate:
    def __init__(self, shrunk: ShrunkModel, device: torch.device) -> None:
        self._shrunk = shrunk
        self.template: nn.Module = shrunk.model.to(device)

    def fresh(self, seed: int) -> nn.Module:
        self._shrunk.initialize(seed)
        # The programs go by the module that they are called with: copies share them.
        programs = vars(self.template).get("_programs")
        return copy.deepcopy(self.template, {id(programs): programs} if programs else {})

    def factors(self, parameter: str, optimizer_type: type[Optimizer], options: Mapping[str, Any]) -> Factors | None:
        return self._shrunk.parametrization.factors(parameter, optimizer_type, options)


class ModelLibrary:
    """Builds models, one for all trials that agree on the hyperparameters which building one reads."""

    def __init__(self, task: PlacedTask, width: float, solution: Solution | None) -> None:
        self._task = task
        self._width = width
        self._solution = solution
        self._reads = HyperparameterReads()
        self._models: dict[ReadValues, LaneModel] = {}

    def model_for(self, hyperparameters: Hyperparameters) -> LaneModel:
        """Gives the trial's model: the same object for trials that cannot differ in it."""
        key = self._reads.values(hyperparameters)
        if key not in self._models:
            model = self._build(self._reads.watched(hyperparameters))
            key = self._reads.values(hyperparameters)
            self._models[key] = model
        return self._models[key]

    def _build(self, hyperparameters: Hyperparameters) -> LaneModel:
        if self._width == 1:
            return _Target(self._task, hyperparameters)
        from hydro.tuner.shrinking.surrogate import build_surrogate

        shrunk = build_surrogate(self._task, hyperparameters, self._width, solution=self._solution, seed=0)
        return _Surrogate(shrunk, self._task.device)


def _generator_devices(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []
