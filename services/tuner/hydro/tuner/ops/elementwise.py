"""Element by element, with broadcasting: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch

from hydro.tuner.ops.registry import dimension_rule
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
