"""Finds what each hyperparameter changes, by tracing the task with other values of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.structure import NotFusible, compare
from hydro.tuner.planning.activation import Conditions, activated, is_same
from hydro.tuner.planning.plan import Value
from hydro.tuner.planning.role import Role
from hydro.tuner.task import Batch, Hyperparameters, TrainingTask
from hydro.tuner.tracing import LossModule, MetricsModule, NotTraceable, Trace, trace
from hydro.tuner.training.data import sample_counts, shapes
from hydro.tuner.training.reads import HyperparameterReads

Shapes = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]


def find_roles(
    task: TrainingTask,
    hyperparameters: Hyperparameters,
    values: Mapping[str, Sequence[Value]],
    conditions: Conditions | None = None,
) -> dict[str, Role]:
    """Tells what each hyperparameter changes.

    Code that does not read a hyperparameter does not depend on it: what model, data, loss and metrics leave unread
    belongs to the optimizer. The others are tried with each of their values: other shapes or another graph make them
    structural, other numbers in the same graph numeric. Training batches may differ in length, where the traces at both
    lengths prove that padding is exact. What cannot be traced and is read counts as structural. One with conditions is
    tried where it is active: elsewhere a model may read it and make nothing of it.

    Args:
        task: The user's.
        hyperparameters: The values that the others are compared with; complete.
        values: By hyperparameter, the values to try.
        conditions: By hyperparameter, when it is active; those that are left out always are.
    """
    roles, conditions = dict.fromkeys(values, Role.OPTIMIZER), conditions or {}
    contexts = {name: activated(name, hyperparameters, conditions) for name in _observe(task, hyperparameters).reads}
    untried = [name for name in contexts if name in values]
    while untried:
        name = untried.pop()
        others = [value for value in values[name] if not is_same(value, contexts[name].get(name))]
        if not others:
            continue
        comparison = _Comparison(task, contexts[name])
        for value in others:
            other = _observe(task, contexts[name] | {name: value})
            roles[name] = _stronger(roles[name], comparison.role(other))
            # A value may switch on a part of the model that reads further ones: those are tried where they are read.
            found = other.reads - contexts.keys()
            contexts.update({each: activated(each, other.hyperparameters, conditions) for each in found})
            untried.extend(found & values.keys())
    return roles


@dataclass(frozen=True, slots=True)
class _Observation:
    """The task at one set of hyperparameters, not yet traced."""

    task: TrainingTask
    hyperparameters: dict[str, Any]
    model: nn.Module
    batch: Batch
    validation_batch: Batch
    shapes: Shapes
    """Of the model and the validation batch."""
    reads: frozenset[str]

    def trace(self) -> tuple[Trace, Trace]:
        """The graph of the loss and the one of the metrics."""
        loss = LossModule(self.task, self.model, self.hyperparameters)
        metrics = MetricsModule(self.task, self.model, self.hyperparameters)
        return trace(loss, (self.batch,), train=True), trace(metrics, (self.validation_batch,), train=False)


def _observe(task: TrainingTask, hyperparameters: Hyperparameters) -> _Observation:
    recorder = HyperparameterReads()
    watched = recorder.watched(hyperparameters)
    model = task.model(watched)
    batch = next(iter(task.train_batches(watched, 0, 0)))
    validation_batch = next(iter(task.validation_batches(watched)))
    with torch.no_grad():
        task.loss(model.train(), batch, watched)
        MetricsModule(task, model.eval(), watched)(validation_batch)
    fixed = tuple(_shapes(model, validation_batch))
    reads = frozenset(name for name, _, _ in recorder.values(hyperparameters))
    return _Observation(task, dict(hyperparameters), model, batch, validation_batch, fixed, reads)


class _Comparison:
    """Compares the task at some hyperparameters with the task at others; traces no more than it must."""

    def __init__(self, task: TrainingTask, hyperparameters: Hyperparameters) -> None:
        self._observed = _observe(task, hyperparameters)
        self._traces: tuple[Trace, Trace] | None = None

    def role(self, other: _Observation) -> Role:
        """Tells what the difference between the two sets of hyperparameters changes."""
        own = self._observed
        both = [shapes(own.batch), shapes(other.batch)]
        lengths = sample_counts(both) if both[0] != both[1] else []
        if other.shapes != own.shapes or lengths is None:
            return Role.STRUCTURAL
        try:
            self._traces = self._traces or own.trace()
            (loss, metrics), (other_loss, other_metrics) = self._traces, other.trace()
        except NotTraceable:
            return Role.STRUCTURAL
        return _stronger(_difference(loss, other_loss, lengths), _difference(metrics, other_metrics))


_STRENGTH = [Role.OPTIMIZER, Role.NUMERIC, Role.PADDED, Role.STRUCTURAL]


def _stronger(first: Role, second: Role) -> Role:
    return max(first, second, key=_STRENGTH.index)


def _difference(one: Trace, other: Trace, lengths: Sequence[int] = ()) -> Role:
    try:
        structure = compare([one, other], lengths)
    except NotFusible:
        return Role.STRUCTURAL
    if lengths:
        return Role.PADDED if one.in_spec == other.in_spec else Role.STRUCTURAL
    return Role.NUMERIC if structure.numbers or structure.constants else Role.OPTIMIZER


def _shapes(model: nn.Module, *batches: Any) -> Iterator[tuple[str, tuple[int, ...], torch.dtype]]:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        yield name, tuple(tensor.shape), tensor.dtype
    for batch in batches:
        for path, leaf in pytree.tree_leaves_with_path(batch):
            if isinstance(leaf, Tensor):
                yield pytree.keystr(path), tuple(leaf.shape), leaf.dtype
