"""A surrogate of a model that does not export: its factory's own, its tensors classified by their shapes at two widths.

The type of the module that holds a tensor says which axis is fan-in (see `shape_classes`), what moved between the two
widths which class that makes it. What only a graph could tell is not checked: the report tells `UNCHECKED`. The
coordinate check trains them all the same. Source of the rule by shapes: TP-V, appendix B (`mup`'s infshapes).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from hydro.tuner.shrinking.classification import Classified, TensorClass
from hydro.tuner.shrinking.factory import Factory, narrow_shapes
from hydro.tuner.shrinking.initial_values import Distribution, measure
from hydro.tuner.shrinking.shape_classes import fan_in_axis
from hydro.tuner.shrinking.solution import Solution, TensorSolution
from hydro.tuner.tracing import NotTraceable, tensor_aliases

UNCHECKED = (
    "ops without a rule, uses of a tensor beyond its module's own, and whether attention's scale goes with one over the"
    " size of a head where that shrinks"
)
"""What the static checks (L0) leave out where there is no graph."""


@dataclass(frozen=True, slots=True)
class _Holder:
    """A module that holds a parameter, under the parameter's name in it."""

    path: str
    module: nn.Module
    own_name: str


def solve_by_shapes(make: Factory, target: nn.Module, unsolved: Solution, untraced: str) -> Solution:
    """Classifies every tensor of the factory's model at a width.

    Raises:
        NotTraceable: `untraced`, and the class of a parameter cannot be told by its shapes.
        FactoryMismatch: what the factory gives at the width is not the target, narrower.
    """
    shapes, aliases = narrow_shapes(make, target, unsolved.width), tensor_aliases(target)
    modules, parameters = dict(target.named_modules()), dict(target.named_parameters())
    tensors = []
    for name, values in (parameters | dict(target.named_buffers())).items():
        names = [name, *(other for other, first in aliases.items() if first == name and other != name)]
        classified = Classified(TensorClass.BUFFER, 1.0, 1.0)
        if name in parameters:
            holders = [_Holder(path, modules[path], own) for path, _, own in (each.rpartition(".") for each in names)]
            try:
                classified = _classified(holders, tuple(values.shape), shapes[name], unsolved.multiplied_readout)
            except NotTraceable as unclear:
                raise NotTraceable(f"{untraced}; nor do shapes tell the class of {name}: {unclear}") from unclear
        tensors.append(
            TensorSolution(
                name=name,
                is_parameter=name in parameters,
                target_shape=tuple(values.shape),
                shape=shapes[name],
                classified=classified,
                initial=measure(values, is_parameter=name in parameters),
                kept=_kept(tuple(values.shape), shapes[name]),
                aliases=tuple(names[1:]),
            )
        )
    return replace(unsolved, tensors=tuple(tensors), untraced=untraced)


def narrow_model(
    make: Factory, target: nn.Module, solution: Solution
) -> tuple[nn.Module, Solution, Mapping[str, Tensor]]:
    """The factory's model, as precise as the target and with its multipliers in place; and the values of its tables."""
    narrow = make(solution.width)
    dtypes = {name: each.dtype for name, each in [*target.named_parameters(), *target.named_buffers()]}
    tensors = dict([*narrow.named_parameters(), *narrow.named_buffers()])
    for name, tensor in tensors.items():
        tensor.data = tensor.data.to(dtypes[name])
    for each in solution.tensors:
        multiplier = _multiplier(solution, each)
        for holder in _holders(narrow, each) if multiplier != 1 else ():
            if isinstance(holder, nn.Linear):
                holder.register_forward_pre_hook(_Multiplied(multiplier))
    kept = {each.name for each in solution.tensors if each.initial.distribution is Distribution.KEPT}
    return narrow, solution, {name: tensors[name].detach().clone() for name in kept}


@dataclass(frozen=True)
class _Multiplied:
    """Multiplies what comes into a readout, as the rewritten graph of other surrogates does."""

    factor: float

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0] * self.factor, *inputs[1:])


def _kept(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[str, ...]:
    return tuple("" if one != other else "the factory keeps it" for one, other in zip(before, after, strict=True))


def _multiplier(solution: Solution, each: TensorSolution) -> float:
    if not each.is_parameter:
        return 1.0
    return solution.parametrization.forward_multiplier(each.name, each.classified.fan_in_ratio)


def _holders(model: nn.Module, each: TensorSolution) -> Iterator[nn.Module]:
    for name in (each.name, *each.aliases):
        yield model.get_submodule(name.rpartition(".")[0])


def _classified(
    holders: list[_Holder], before: tuple[int, ...], after: tuple[int, ...], multiplied_readout: bool
) -> Classified:
    """The class that all holders agree on; that of a tied tensor where one looks up what another contracts."""
    found = {one.tensor_class: one for one in (_class_in(each, before, after) for each in holders)}
    reason = "; ".join(f"a {type(each.module).__name__}'s {each.own_name}, by its shapes" for each in holders)
    classes = set(found)
    if len(classes) == 1:
        (one,) = found.values()
    elif classes == {TensorClass.VECTOR, TensorClass.READOUT}:
        one = Classified(TensorClass.TIED, found[TensorClass.READOUT].fan_in_ratio, 1.0)
    else:
        raise NotTraceable(f"it is tied as {' and as '.join(sorted(each.value for each in classes))}")
    is_multiplied = multiplied_readout and one.tensor_class is TensorClass.READOUT
    tensor_class = TensorClass.MULTIPLIED_READOUT if is_multiplied else one.tensor_class
    has_multiplier = tensor_class in (TensorClass.MULTIPLIED_READOUT, TensorClass.TIED)
    if has_multiplier and not any(isinstance(each.module, nn.Linear) for each in holders):
        raise NotTraceable("its readout needs a multiplier, and no Linear holds it")
    return Classified(tensor_class, one.fan_in_ratio, one.fan_out_ratio, reason)


def _class_in(holder: _Holder, before: tuple[int, ...], after: tuple[int, ...]) -> Classified:
    whole = math.prod(after) / math.prod(before) if before != after else 1.0
    if before == after:
        return Classified(TensorClass.FIXED, 1.0, 1.0)
    if sum(size > 1 for size in before) <= 1:
        return Classified(TensorClass.VECTOR, 1.0, whole)
    axis = fan_in_axis(holder.module, holder.own_name)
    if axis is None:
        return Classified(TensorClass.VECTOR, 1.0, whole)
    if getattr(holder.module, "groups", 1) > 1:
        return _grouped(axis, before, after)
    fan_in = after[axis] / before[axis]
    if fan_in == 1:
        return Classified(TensorClass.INPUT, 1.0, whole)
    moved = [other for other in range(len(before)) if before[other] != after[other]]
    if moved == [axis]:
        return Classified(TensorClass.READOUT, fan_in, 1.0)
    return Classified(TensorClass.HIDDEN, fan_in, whole / fan_in)


def _grouped(axis: int, before: tuple[int, ...], after: tuple[int, ...]) -> Classified:
    """A convolution in groups that shrink in number, or in size: a transposed one has all of its inputs in axis 0."""
    whole = math.prod(after) / math.prod(before)
    if axis == 0:
        raise NotTraceable("a transposed convolution in groups: whether their number or their size shrinks is open")
    if after[axis] != before[axis]:
        fan_in = after[axis] / before[axis]
        return Classified(TensorClass.GROUPED_BY_SIZE, fan_in, whole / fan_in)
    depthwise = before[axis] == 1
    return Classified(TensorClass.DEPTHWISE if depthwise else TensorClass.GROUPED_BY_COUNT, 1.0, whole)
