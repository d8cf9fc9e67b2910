"""Element by element, with broadcasting: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

from hydro.nn.whole_vectors import APPROXIMATED, fills_vectors, in_whole_vectors
from hydro.tuner.fusion.emitter import Emitter, schema_call
from hydro.tuner.fusion.layout import Layout, Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule, takes_numbers
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call, broadcast

aten = torch.ops.aten


@dimension_rule(
    aten.rsub.Tensor, aten.masked_fill.Tensor, aten.hardswish.default, aten.hardswish_.default, aten.relu6.default,
    aten.relu6_.default, aten.selu.default, aten.selu_.default, aten.where.ScalarOther, aten.where.ScalarSelf,
    aten.where.Scalar, aten.copy_.default, aten.square.default, aten.true_divide.Tensor, aten.multiply.Tensor,
    aten.subtract.Tensor, aten.divide.Tensor, aten.masked_fill_.Scalar, aten.masked_fill_.Tensor, aten.copy.default,
    aten.log_sigmoid.default, aten.__and__.Tensor, aten.__and__.Scalar, aten.__or__.Tensor, aten.__or__.Scalar,
    aten.__xor__.Tensor, aten.__xor__.Scalar, aten.fill_.Scalar, aten.zero_.default,
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
    return (*inputs[:axis], call.dimensions.share(inputs[axis], 2), *inputs[axis + 1 :])


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
    aten.true_divide.Tensor, aten.multiply.Tensor, aten.subtract.Tensor, aten.divide.Tensor,
    aten.log_sigmoid.default, aten.__and__.Tensor, aten.__or__.Tensor, aten.__xor__.Tensor, aten.__and__.Scalar,
    aten.__or__.Scalar,
)  # fmt: skip
def elementwise_lanes(emit: Emitter, op: OpOverload, *values: Any) -> Value | None:
    """Exact: an element meets the elements at its own place only. The rule of every op that ATen tags as pointwise."""
    if not isinstance(emit.example, torch.Tensor) or any(isinstance(value, list | tuple) for value in values):
        return None
    operands = [value for value in values if isinstance(value, Value)]
    if needs_whole_vectors(op, emit.example) and _takes_tensors(op, values):
        shape = tuple(emit.example.shape)
        forms = [_lane_form(emit, value, len(shape)) if isinstance(value, Value) else value for value in values]
        return emit.in_lanes(emit_whole_vectors(emit, op, shape, forms))
    if any(_is_packed_as(each, emit.example) for each in operands) and all(
        _is_packed_as(each, emit.example) or _spreads_over_packed(each, emit.example) for each in operands
    ):
        forms = [_packed_form(emit, value) if isinstance(value, Value) else value for value in values]
        return emit.in_channels(emit.aten(op, forms))
    if not _takes_tensors(op, values):
        return None
    ndim = emit.example.ndim
    forms = [_lane_form(emit, value, ndim) if isinstance(value, Value) else value for value in values]
    if any(each.is_packed for each in operands):
        forms = [
            emit.call(_spread_over_lanes, form, tuple(emit.example.shape)) if _is_spread(value, emit.example) else form
            for form, value in zip(forms, values, strict=True)
        ]
    return emit.in_lanes(emit.aten(op, forms))


def _is_spread(value: Any, output: torch.Tensor) -> bool:
    return isinstance(value, Value) and not value.is_shared and value.shape != tuple(output.shape)


def needs_whole_vectors(op: OpOverload, output: torch.Tensor) -> bool:
    """Whether a lane's bits would depend on its place: an approximated function, and lanes that fill no vectors."""
    return op._schema.name in APPROXIMATED and not fills_vectors(output.numel(), output.itemsize)


def emit_whole_vectors(emit: Emitter, op: OpOverload, shape: tuple[int, ...], values: Sequence[Any]) -> Node:
    """Emits an elementwise op on lanes that are padded to whole vectors."""
    args, kwargs = schema_call(op, values)
    return emit.call(in_whole_vectors, op, emit.lanes, shape, *args, **kwargs)


def _is_packed_as(operand: Value, output: torch.Tensor) -> bool:
    """Whether an operand lies packed with as many channels as the output has."""
    return operand.is_packed and operand.ndim == output.ndim and operand.shape[1] == output.shape[1]


def _spreads_over_packed(operand: Value, output: torch.Tensor) -> bool:
    """Whether an operand broadcasts against a packed output without a large copy."""
    if operand.is_shared:
        return operand.ndim < output.ndim - 1 or operand.shape[1 - output.ndim] == 1
    small = operand.example.numel() * _MUCH_LARGER <= output.numel()
    return small and operand.ndim > 0 and not operand.is_number


def _packed_form(emit: Emitter, operand: Value) -> Node:
    # A shared image may lie packed as well, for a convolution's sake.
    if _is_packed_as(operand, emit.example):
        return emit.packed(operand)
    if operand.is_shared:
        return emit.shared(operand)
    return emit.call(_spread_over_packed, emit.lane_major(operand), tuple(emit.example.shape))


_MUCH_LARGER = 16


def _spread_over_packed(operand: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """[G, ...] to [N, G * channels, ...], copied no further than over the channels."""
    aligned = operand.reshape(len(operand), *(1,) * (len(shape) + 1 - operand.ndim), *operand.shape[1:])
    repeated = aligned.expand(*aligned.shape[:2], shape[1], *aligned.shape[3:])
    return _summed_in_rows(repeated.transpose(0, 1).flatten(1, 2).expand(shape[0], -1, *shape[2:]))


def _spread_over_lanes(operand: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """[G, ...] to [G, *shape]."""
    return _summed_in_rows(operand.expand(len(operand), *shape))


def _summed_in_rows(spread: torch.Tensor) -> torch.Tensor:
    """Has the gradient in rows before it is summed: channels beside each other are summed in orders that depend on
    their place.
    """
    if spread.requires_grad:
        spread.register_hook(torch.Tensor.contiguous)  # type: ignore[no-untyped-call]
    return spread


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


@lane_rule(aten.copy.default)
def copy_lanes(emit: Emitter, op: OpOverload, x: Value, source: Value, non_blocking: bool) -> Value:
    """Exact: what is copied takes the place and the type of what was there; `aten.copy` itself has no derivative."""
    shape = tuple(emit.example.shape)
    typed = emit.method("to", emit.broadcastable(source, len(shape)), emit.example.dtype)
    return emit.in_lanes(emit.method("expand", typed, emit.lanes, *shape))


@lane_rule(aten.prelu.default)
def prelu_lanes(emit: Emitter, op: OpOverload, x: Value, weight: Value) -> Value | None:
    """Exact: one slope, or one for each channel, of the lane's own."""
    if weight.is_shared:
        return None
    if weight.example.numel() == 1:
        slope = emit.method("view", emit.lane_major(weight), emit.lanes, *(1,) * x.ndim)
        slope = emit.call(_spread_over_lanes, slope, x.shape)
        return emit.in_lanes(emit.aten(_PRELU, (emit.lane_major(x), slope)))
    slopes = emit.method("view", emit.lane_major(weight), emit.lanes, -1, *(1,) * (x.ndim - 2))
    slopes = emit.call(_spread_over_packed, slopes, x.shape)
    return emit.in_channels(emit.aten(_PRELU, (emit.packed(x), slopes)))


_PRELU = aten._prelu_kernel.default


@lane_rule(aten.type_as.default, aten.to.other)
def type_as_lanes(emit: Emitter, op: OpOverload, x: Value, other: Value, *rest: Any) -> Value:
    """Exact: of the other tensor only its type counts, which is no lane's own."""
    if x.is_shared:
        return Value(emit.example, {Layout.SHARED: emit.method("to", emit.shared(x), emit.example.dtype)})
    if x.is_packed:
        return emit.in_channels(emit.method("to", emit.packed(x), emit.example.dtype))
    return emit.in_lanes(emit.method("to", emit.lane_major(x), emit.example.dtype))
