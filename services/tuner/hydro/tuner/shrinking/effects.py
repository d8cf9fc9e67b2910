"""What a hyperparameter is to transfer, found by running the task's own code with other values of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from hydro.tuner.planning.activation import Conditions, activated
from hydro.tuner.planning.plan import Value
from hydro.tuner.planning.role import Role
from hydro.tuner.shrinking.optimizer_families import coupled_weight_decay, family_of
from hydro.tuner.shrinking.rule_table import TRAINED, table
from hydro.tuner.shrinking.transfer import Effect
from hydro.tuner.task import Hyperparameters, TrainingTask
from hydro.tuner.training.reads import HyperparameterReads

_COMBINATIONS = 256
"""Of hyperparameters' values, tried at most: an optimizer is built in a moment."""


def find_effects(
    task: TrainingTask,
    model: nn.Module,
    hyperparameters: Hyperparameters,
    values: Mapping[str, Sequence[Value]],
    roles: Mapping[str, Role],
    conditions: Conditions | None = None,
) -> dict[str, Effect]:
    """Tells of each hyperparameter which of the optimizer's options it is, and whether it changes the data alone.

    Args:
        task: The user's.
        model: Its target.
        hyperparameters: Complete.
        values: By hyperparameter, the values to try.
        roles: What each changes in the graph.
        conditions: By hyperparameter, when it is active; those that are left out always are.
    """
    active = {name: activated(name, hyperparameters, conditions or {}) for name in values}
    others = [each for name, each in active.items() if name in (conditions or {})]
    from_data = _reads_in(hyperparameters, others, lambda watched: next(iter(task.train_batches(watched, 0, 0))))
    elsewhere = _reads_in(hyperparameters, others, lambda watched: _optimizer_and_schedule(task, model, watched))
    data_alone = {name for name in from_data - elsewhere if roles.get(name) is Role.OPTIMIZER}
    return {
        name: Effect(
            roles.get(name, Role.OPTIMIZER), _options(task, model, active[name], name, tried), name in data_alone
        )
        for name, tried in values.items()
    }


def require_rules(
    task: TrainingTask, model: nn.Module, hyperparameters: Hyperparameters, values: Mapping[str, Sequence[Value]]
) -> tuple[str, ...]:
    """Refuses a task whose optimizer has no rule, or a weight decay without one, at any values of the search space.

    Gives warnings: the hyperparameters of which no value could be tried, since the task's optimizer refuses each.

    Raises:
        UnknownOptimizer: the table has no row for it.
        CoupledWeightDecay: weight decay inside a gradient whose scale is then normalized away.
    """
    read = _reads(hyperparameters, lambda watched: task.optimizer(model, watched))
    tried = {name: values[name] for name in values if name in read}
    accepted: set[str] = set()
    _require_rule(task.optimizer(model, hyperparameters))
    for changed in _changes(tried):
        try:
            optimizer = task.optimizer(model, {**hyperparameters, **changed})
        except Exception:  # noqa: BLE001, S112 - ends of ranges that conditions keep apart may not go together
            continue
        accepted |= changed.keys()
        _require_rule(optimizer)
    return tuple(
        f"{name}: the task's optimizer refuses each of the values that were tried, {', '.join(map(str, values[name]))}:"
        " whether its rules hold is known for the task's defaults alone"
        for name in tried
        if name not in accepted
    )


def _changes(values: Mapping[str, Sequence[Value]]) -> Iterator[dict[str, Value]]:
    """Each value beside the defaults of the others, then combinations: either may be refused where the other is not."""
    for name, alone in values.items():
        yield from ({name: value} for value in alone)
    for combination in islice(product(*values.values()), _COMBINATIONS):
        yield dict(zip(values, combination, strict=True))


def _require_rule(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        row = table()[TRAINED[0], family_of(type(optimizer), group)]
        decay = float(group.get("weight_decay", 0.0))
        if row.weight_decay is None and decay != 0:
            raise coupled_weight_decay(type(optimizer), decay)


def _reads_in(defaults: Hyperparameters, others: Sequence[Hyperparameters], run: Any) -> set[str]:
    found = _reads(defaults, run)
    for hyperparameters in others:
        try:
            found |= _reads(hyperparameters, run)
        except Exception:  # noqa: BLE001, S112 - the model is that of the defaults: groups of another one may not fit
            continue
    return found


def _reads(hyperparameters: Hyperparameters, run: Any) -> set[str]:
    recorder = HyperparameterReads()
    run(recorder.watched(hyperparameters))
    return {name for name, _, _ in recorder.values(hyperparameters)}


def _optimizer_and_schedule(task: TrainingTask, model: nn.Module, hyperparameters: Hyperparameters) -> None:
    task.lr_scheduler(task.optimizer(model, hyperparameters), hyperparameters)


def _options(
    task: TrainingTask,
    model: nn.Module,
    hyperparameters: Hyperparameters,
    name: str,
    values: Sequence[Value],
) -> tuple[str, ...]:
    """The options that have the hyperparameter's own value, at each of its values."""
    found: set[str] | None = None
    for value in values:
        try:
            optimizer = task.optimizer(model, {**hyperparameters, name: value})
        except Exception:  # noqa: BLE001, S112 - as above
            continue
        same = {option for option, one in _numbers(optimizer) if _is_same(one, value)}
        found = same if found is None else found & same
    return tuple(sorted(found or ())) if len(values) > 1 else ()


def _numbers(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    for group in optimizer.param_groups:
        for option, value in group.items():
            if option == "params":
                continue
            if isinstance(value, (tuple, list)):
                yield from ((f"{option}.{index}", each) for index, each in enumerate(value))
            else:
                yield option, value


def _is_same(one: Any, value: Value) -> bool:
    number = one.item() if isinstance(one, Tensor) and one.numel() == 1 else one
    return isinstance(number, (int, float)) and not isinstance(value, (bool, str)) and number == value


@dataclass(frozen=True, slots=True)
class OptimizerFacts:
    """An optimizer, as far as transfer asks."""

    type: type[Optimizer]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the first parameter group."""

    @property
    def family(self) -> str:
        """Its name in the table."""
        return family_of(self.type, self.options).value


def optimizer_facts(optimizer: Optimizer) -> OptimizerFacts:
    """Its type, and the options of the first parameter group."""
    group = optimizer.param_groups[0]
    return OptimizerFacts(type(optimizer), {name: value for name, value in group.items() if name != "params"})
