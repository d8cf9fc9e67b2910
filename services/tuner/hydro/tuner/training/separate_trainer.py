"""Lanes as separate models, one after the other: plain PyTorch, the fallback and what the fused trainer must equal."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from hydro.tuner.task import Batch
from hydro.tuner.tracing import LazilyTraced, LossModule, MetricsModule, prepare
from hydro.tuner.training.averages import SampleAverages
from hydro.tuner.training.checkpoint import LaneState, load_model
from hydro.tuner.training.clipping import clip_gradients
from hydro.tuner.training.data import BatchSource, Cursor
from hydro.tuner.training.failures import Attribution, LaneFailures
from hydro.tuner.training.fused_kernels import use_fused_kernels
from hydro.tuner.training.lane import LaneClone, LaneFailure, LaneSpec, LaneStatus, MemoryMiss
from hydro.tuner.training.lane_random import initial_random_state, lane_randomness, usable_random_state
from hydro.tuner.training.mixed_precision import autocast, loss_scaler
from hydro.tuner.training.models import LaneModel, ModelLibrary
from hydro.tuner.training.numbers import scaled
from hydro.tuner.training.placed_task import PlacedTask, sample_count
from hydro.tuner.training.schedules import Change, LaneSchedule
from hydro.tuner.training.trainer import Surroundings, require_metric


class _Lane:
    """One trial's model, optimizer and schedule."""

    def __init__(self, task: PlacedTask, spec: LaneSpec, library: ModelLibrary) -> None:
        self.trial = spec.trial
        self._own_hyperparameters = spec.hyperparameters
        self.hyperparameters = task.completed(spec.hyperparameters)
        self.step = spec.start_step
        shared = library.model_for(self.hyperparameters)
        self.model = shared.fresh(spec.seed)
        self.schedule = LaneSchedule(task, shared.template, self.hyperparameters)
        self.optimizer = task.optimizer(self.model, self.hyperparameters)
        use_fused_kernels(self.optimizer)
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        self._origins = self._split_groups(shared)
        self.random_state = initial_random_state(spec.seed, task.device)
        self.scaler = loss_scaler(task)
        if spec.state is not None:
            self._load(LaneState.from_bytes(spec.state, task.device, spec.start_step), spec, task.device)
        self.apply_numbers()

    def _split_groups(self, shared: LaneModel) -> list[tuple[int, Any]]:
        """Splits the user's parameter groups where the parametrization's factors differ."""
        groups, origins = [], []
        for index, group in enumerate(self.optimizer.param_groups):
            parts: dict[Any, list[Tensor]] = {}
            for parameter in group["params"]:
                factors = shared.factors(self._names[parameter], type(self.optimizer), group)
                parts.setdefault(factors, []).append(parameter)
                if factors is not None:
                    factors.scale_initial_state(self.optimizer.state.get(parameter, {}))
            for factors, parameters in parts.items():
                groups.append({**group, "params": parameters})
                origins.append((index, factors))
        self.optimizer.param_groups[:] = groups
        return origins

    def require_like(self, parent: _Lane) -> None:
        """Raises ValueError when the parent's state is another model's or optimizer's."""
        if type(self.optimizer) is not type(parent.optimizer):
            raise ValueError(
                f"{self.trial} cannot go on from {parent.trial}: with its hyperparameters the model has other "
                "parameters, or another optimizer"
            )

    def apply_numbers(self) -> None:
        """Gives the schedule's numbers to the optimizer."""
        numbers = self.schedule.groups()
        for group, (index, factors) in zip(self.optimizer.param_groups, self._origins, strict=True):
            now = scaled(numbers[index], factors)
            group.update({name: value for name, value in now.items() if name != "fused"})

    def update(self, task: PlacedTask) -> None:
        self.scaler.unscale_(self.optimizer)
        clip_gradients(task, self._names)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for parameter in self._names:
            parameter.grad = None
        self.step += 1
        if self.schedule.advance() is not Change.NOTHING:
            self.apply_numbers()

    def state(self) -> LaneState:
        slots = {self._names[parameter]: slots for parameter, slots in self.optimizer.state.items()}
        schedule, scale = self.schedule.state(), self.scaler.state_dict()
        model, hyperparameters = self.model.state_dict(), self._own_hyperparameters
        return LaneState(self.step, model, slots, self.random_state, schedule, scale, hyperparameters)

    def _load(self, state: LaneState, spec: LaneSpec, device: torch.device) -> None:
        load_model(self.model, state.model, spec.trial)
        for group in self.optimizer.param_groups:
            counters_on_device = group.get("fused") or group.get("capturable")
            for parameter in group["params"]:
                slots = dict(state.optimizer.get(self._names[parameter], {}))
                if counters_on_device and "step" in slots:
                    slots["step"] = slots["step"].to(device)
                if slots:
                    self.optimizer.state[parameter] = slots
        is_changed = not state.is_trained_with(spec.hyperparameters)
        self.schedule.load(state.schedule, steps=state.step, is_changed=is_changed)
        if state.loss_scale:
            self.scaler.load_state_dict(state.loss_scale)
        self.random_state = usable_random_state(state.rng, spec.seed, state.step, device)


class SeparateTrainer:
    """Trains each lane with a model, an optimizer and a schedule of its own."""

    def __init__(self, given: Surroundings) -> None:
        self._given = given
        self._task = given.task
        self._gate = given.gate
        self._failures = LaneFailures(given.current)
        self._lanes: list[_Lane] = []
        self._source = BatchSource(given.task, given.data_seed)

    @property
    def lanes(self) -> tuple[LaneStatus, ...]:
        """See `BundleTrainer`."""
        return tuple(LaneStatus(lane.trial, lane.step) for lane in self._lanes)

    @property
    def fusion_count(self) -> int:
        """See `BundleTrainer`."""
        return 1

    @property
    def report(self) -> str:
        """See `BundleTrainer`."""
        return f"{len(self._lanes)} separate models, one after the other"

    @property
    def misses(self) -> tuple[MemoryMiss, ...]:
        """None: one that does not fit beside others asks for fewer lanes, and one that does not fit by itself fails."""
        return ()

    @property
    def undoes_steps(self) -> bool:
        """See `BundleTrainer`."""
        return False

    def run_at_most(self, lanes: int) -> None:
        """See `BundleTrainer`."""

    def train_step(self) -> None:
        """See `BundleTrainer`."""
        if not self._lanes:
            return
        with self._gate.segment("data"):
            batches = self._source.draw()
        failed = len(self._failures)
        for lane, stream in zip(self._lanes, self._source.stream_of_lane, strict=True):
            self._train(lane, batches[stream])
        if len(self._failures) != failed:
            self.remove(self._failures.trials_from(failed))

    def _train(self, lane: _Lane, batch: Batch) -> None:
        # What the gate itself raises concerns all lanes, so each lane's errors are caught inside its segments.
        with lane_randomness(lane, self._task.device):
            with self._gate.segment("forward"):
                loss = self._loss(lane, batch)
            if loss is None:
                return
            with self._gate.segment("backward"):
                is_ready = self._backward(lane, loss)
        if is_ready:
            with self._gate.segment("optimizer"), self._attributed(lane):
                lane.update(self._task)

    def _attributed(self, lane: _Lane) -> Attribution:
        return self._failures.attributed(lane.trial, lane.step, is_alone=len(self._lanes) == 1)

    def _loss(self, lane: _Lane, batch: Batch) -> Tensor | None:
        with self._attributed(lane):
            if not lane.model.training:
                lane.model.train()
            with autocast(self._task):
                loss = self._task.loss(lane.model, batch, lane.hyperparameters)
            value = loss.item()
            if math.isfinite(value):
                return loss
            self._failures.add_diverged(lane.trial, lane.step, value)
        return None

    def _backward(self, lane: _Lane, loss: Tensor) -> bool:
        with self._attributed(lane):
            lane.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            return True
        return False

    def validate(self, trials: Sequence[str]) -> dict[str, dict[str, float]]:
        """See `BundleTrainer`."""
        lanes = {lane.trial: lane for lane in self._lanes}
        return {trial: self._validate(lanes[trial]) for trial in trials}

    def _validate(self, lane: _Lane) -> dict[str, float]:
        averages = SampleAverages()
        self._given.current.trial = lane.trial
        lane.model.eval()
        for batch in self._task.validation_batches(lane.hyperparameters):
            with self._gate.segment("validation"), torch.no_grad():
                averages.add(self._metrics(lane.model, batch, lane), sample_count(batch))
        self._given.current.trial = None
        metrics = {name: float(value) for name, value in averages.means().items()}
        if lane.schedule.observe(require_metric(metrics, self._given.objective)) is not Change.NOTHING:
            lane.apply_numbers()
        return metrics

    def _metrics(self, model: nn.Module, batch: Batch, lane: _Lane) -> dict[str, Tensor]:
        with autocast(self._task):
            loss = self._task.loss(model, batch, lane.hyperparameters)
            return {"validation_loss": loss, **self._task.metrics(model, batch, lane.hyperparameters)}

    def checkpoint(self, trial: str) -> bytes:
        """See `BundleTrainer`."""
        return next(lane for lane in self._lanes if lane.trial == trial).state().to_bytes()

    def insert(self, lanes: Sequence[LaneSpec]) -> None:
        """See `BundleTrainer`."""
        is_alone = len(self._lanes) + len(lanes) == 1
        built: list[_Lane] = []
        for spec in lanes:
            with self._failures.attributed(spec.trial, spec.start_step, is_alone=is_alone):
                lane = _Lane(self._task, spec, self._given.models)
                self._prepare(lane)
                built.append(lane)
        self._lanes += built
        self._place_lanes()

    def clone(self, clones: Sequence[LaneClone]) -> None:
        """See `BundleTrainer`."""
        lanes = {lane.trial: lane for lane in self._lanes}
        heirs: dict[str, _Lane | None] = {clone.trial: None for clone in clones}
        for clone in clones:
            parent = lanes[clone.parent]
            state = parent.state().to_bytes()
            spec = LaneSpec(clone.trial, clone.hyperparameters, clone.seed, state, parent.step)
            with self._failures.attributed(clone.trial, parent.step, is_alone=len(lanes) == 1):
                heir = _Lane(self._task, spec, self._given.models)
                heir.require_like(parent)
                self._prepare(heir)
                heirs[clone.trial] = heir
        replaced = [heirs.get(lane.trial, lane) for lane in self._lanes]
        self._lanes = [lane for lane in replaced if lane is not None]
        self._place_lanes()

    def _prepare(self, lane: _Lane) -> None:
        """Has a surrogate build its programs ahead of time: that takes longer than a bubble."""
        hyperparameters = lane.hyperparameters
        train_batches = self._task.train_batches(hyperparameters, self._source.seed, lane.step)
        for kind, batches, train in (
            (LossModule, train_batches, True),
            (MetricsModule, self._task.validation_batches(hyperparameters), False),
        ):
            for batch in islice(batches, 1) if isinstance(lane.model, LazilyTraced) else ():
                prepare(kind(self._task, lane.model, hyperparameters), (batch,), train=train)

    def remove(self, trials: Collection[str]) -> None:
        """See `BundleTrainer`."""
        self._lanes = [lane for lane in self._lanes if lane.trial not in trials]
        self._place_lanes()

    def take_failures(self) -> tuple[LaneFailure, ...]:
        """See `BundleTrainer`."""
        return self._failures.take()

    def _place_lanes(self) -> None:
        self._source.place_lanes([Cursor(lane.step, lane.hyperparameters) for lane in self._lanes])
