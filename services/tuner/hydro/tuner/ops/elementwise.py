"""Element by element, with broadcasting: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule, takes_numbers
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call, broadcast

aten = torch.ops.aten


@dimension_rule(
    aten.rsub.Tensor, aten.masked_fill.Tensor, aten.hardswish.default, aten.hardswish_.default, aten.relu6.default,
    aten.relu6_.default, aten.selu.default, aten.selu_.default, aten.where.ScalarOther, aten.where.ScalarSelf,
    aten.where.Scalar, aten.copy_.default, aten.square.default, aten.true_divide.Tensor, aten.multiply.Tensor,
    aten.subtract.Tensor, aten.divide.Tensor, aten.masked_fill_.Scalar, aten.masked_fill_.Tensor,
)  # fmt: skip
def elementwise(call: Call) -> Dims:
    """Element by element; ops that ATen tags as pointwise need no entry here."""
    return broadcast(call)


@dimension_rule(aten.prelu.default)
def prelu(call: Call) -> Dims:
    """One slope, or one for each channel."""
    inputs, weight = call.dims("self"), call.dims("weight")
    if weight and weight[0]:
        call.unify(weight[0], inputs[1])
    return inputs


@dimension_rule(aten.glu.default)
def glu(call: Call) -> Dims:
    """One half gates the other."""
    inputs = call.dims("self")
    axis = call.axis("dim", len(inputs))
    halves = call.dimensions.divide(inputs[axis], (2, call.size(inputs[axis]) // 2))
    call.pin(halves[0])
    return (*inputs[:axis], halves[1], *inputs[axis + 1 :])


@dimension_rule(
    aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other, aten.type_as.default, aten.contiguous.default,
    aten.detach.default, aten.detach_.default, aten.lift_fresh_copy.default, aten.alias.default,
)  # fmt: skip
def same(call: Call) -> Dims:
    """The first operand in another form."""
    return call.dims_of(call.operands()[0])


@takes_numbers
@lane_rule(
    aten.add.Tensor, aten.rsub.Tensor, aten.masked_fill.Tensor, aten.hardswish.default, aten.relu6.default,
    aten.selu.default, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar, aten.square.default,
    aten.true_divide.Tensor, aten.multiply.Tensor, aten.subtract.Tensor, aten.divide.Tensor, aten.copy.default,
)  # fmt: skip
def elementwise_lanes(emit: Emitter, op: OpOverload, *values: Any) -> Value | None:
    """Exact: an element meets the elements at its own place only. The rule of every op that ATen tags as pointwise."""
    if not isinstance(emit.example, torch.Tensor) or any(isinstance(value, list | tuple) for value in values):
        return None
    operands = [value for value in values if isinstance(value, Value)]
    if all(_fits_packed(operand, emit.example) for operand in operands):
        forms = (_packed_form(emit, value) if isinstance(value, Value) else value for value in values)
        return emit.in_channels(emit.aten(op, tuple(forms)))
    if not _takes_tensors(op, values):
        return None
    ndim = emit.example.ndim
    forms = (_lane_form(emit, value, ndim) if isinstance(value, Value) else value for value in values)
    return emit.in_lanes(emit.aten(op, tuple(forms)))


def _fits_packed(operand: Value, output: torch.Tensor) -> bool:
    if operand.is_shared:
        return operand.ndim == 0
    return operand.is_packed and operand.ndim == output.ndim and operand.shape[1] == output.shape[1]


def _packed_form(emit: Emitter, operand: Value) -> Node:
    return emit.shared(operand) if operand.is_shared else emit.packed(operand)


def _takes_tensors(op: OpOverload, values: Sequence[Any]) -> bool:
    """Whether every per-lane number stands where the op takes a tensor; a vector cannot be a scalar argument."""
    return all(
        str(argument.type) == "Tensor"
        for argument, value in zip(op._schema.arguments, values, strict=True)
        if isinstance(value, Value) and value.is_number
    )


def _lane_form(emit: Emitter, operand: Value, ndim: int) -> Node:
    node = emit.broadcastable(operand, ndim)
    if operand.is_shared or operand.ndim > 0 or ndim == 0 and not operand.is_number:
        return node
    # Without axes a tensor does not decide the output's type; with the lane axis it would.
    return emit.method("to", node, operand_type(operand, emit.example))


def operand_type(operand: Value, output: torch.Tensor) -> torch.dtype:
    """The type in which a tensor without axes takes part in an operation."""
    if operand.is_number and not output.dtype.is_floating_point:
        return torch.get_default_dtype()
    return output.dtype if output.dtype.is_floating_point else operand.example.dtype


@lane_rule(
    aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.detach.default, aten.lift_fresh_copy.default,
    aten.alias.default, aten.contiguous.default, aten.clone.default,
)  # fmt: skip
def same_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> Value:
    """Exact: each element in another form, in whatever layout it is. Memory formats are left to the kernels."""
    kept = [
        None if argument.name == "memory_format" and argument.has_default_value() else value
        for argument, value in zip(op._schema.arguments[1:], rest, strict=True)
    ]
    if op in (aten.contiguous.default, aten.clone.default, aten.alias.default, aten.lift_fresh_copy.default):
        return Value(emit.example, dict(x.forms))
    if x.is_packed:
        return emit.in_channels(emit.aten(op, (emit.packed(x), *kept)))
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), *kept)))
