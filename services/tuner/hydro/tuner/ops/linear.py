"""Linear maps and matrix products: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

import torch
from torch._ops import OpOverload
from torch.nn import functional as plain

from hydro.nn import functional as grouped
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dim, DimensionMismatch, Dims
from hydro.tuner.shrinking.propagation import Call, broadcast_dims

aten = torch.ops.aten


@dimension_rule(aten.linear.default)
def linear(call: Call) -> Dims:
    """The input's last axis meets the weight's."""
    inputs, weight = call.dims("input"), call.dims("weight")
    call.unify(inputs[-1], weight[-1])
    if call.is_given("bias"):
        call.unify(call.dims("bias")[0], weight[0])
    _contract(call, "input", "weight", weight[-1])
    return (*inputs[:-1], *weight[:-1])


@dimension_rule(aten.matmul.default)
def matmul(call: Call) -> Dims:
    """Matrix products over broadcast batch axes; a vector is a row on the left and a column on the right."""
    left, right = call.dims("self"), call.dims("other")
    inner = right[-2] if len(right) > 1 else right[-1]
    call.unify(left[-1], inner)
    _contract(call, "self", "other", inner)
    batch = broadcast_dims(call, left[:-2], right[:-2])
    return (*batch, *left[-2:-1], *(right[-1:] if len(right) > 1 else ()))


@dimension_rule(aten.mm.default, aten.bmm.default)
def matrix_product(call: Call) -> Dims:
    """Matrix products, over one batch axis or none."""
    left, right = call.dims("self"), call.dims("mat2")
    call.unify(left[-1], right[-2])
    _contract(call, "self", "mat2", right[-2])
    return (*broadcast_dims(call, left[:-2], right[:-2]), left[-2], right[-1])


@dimension_rule(aten.addmm.default)
def addmm(call: Call) -> Dims:
    """A matrix product and a bias that broadcasts over its rows."""
    left, right = call.dims("mat1"), call.dims("mat2")
    call.unify(left[-1], right[-2])
    _contract(call, "mat1", "mat2", right[-2])
    return broadcast_dims(call, call.dims("self"), (left[-2], right[-1]))


@dimension_rule(aten.baddbmm.default)
def baddbmm(call: Call) -> Dims:
    """Matrix products over a batch axis, and a term that broadcasts."""
    left, right = call.dims("batch1"), call.dims("batch2")
    call.unify(left[-1], right[-2])
    call.unify(left[0], right[0])
    _contract(call, "batch1", "batch2", right[-2])
    return broadcast_dims(call, call.dims("self"), (left[0], left[-2], right[-1]))


@dimension_rule(aten.outer.default)
def outer(call: Call) -> Dims:
    """Every pair of two vectors' elements."""
    return (*call.dims("self"), *call.dims("vec2"))


@dimension_rule(aten.einsum.default)
def einsum(call: Call) -> Dims:
    """Letters are dimensions; those that the output lacks are contracted. Equations with "..." have no rule."""
    inputs, _, output = call["equation"].replace(" ", "").partition("->")
    operands, terms = call["tensors"], inputs.split(",")
    if "." in inputs or not output or any(len(set(term)) < len(term) for term in terms):
        raise DimensionMismatch("an equation with an ellipsis, a repeated letter or no output")
    letters: dict[str, Dim] = {}
    for operand, term in zip(operands, terms, strict=True):
        for letter, dim in zip(term, call.dims_of(operand), strict=True):
            call.unify(letters.setdefault(letter, dim), dim)
    summed = [letter for letter in letters if letter not in output]
    for operand, term in zip(operands, terms, strict=True):
        call.contract(operand, tuple(atom for letter in summed if letter in term for atom in letters[letter]))
    if not any(call.is_static(operand) for operand in operands):
        call.multiply_activations(tuple(atom for letter in summed for atom in letters[letter]))
    return tuple(letters[letter] for letter in output)


def _contract(call: Call, left: str, right: str, dim: Dim) -> None:
    call.contract(call[left], dim)
    call.contract(call[right], dim)
    if not call.is_static(call[left]) and not call.is_static(call[right]):
        call.multiply_activations(dim)


@lane_rule(aten.linear.default)
def linear_lanes(emit: Emitter, op: OpOverload, x: Value, weight: Value, bias: Value | None) -> Value | None:
    """Exact: a lane's outputs are products of its own rows and columns only.

    A shared input is not copied.
    """
    if weight.is_shared or weight.ndim != 2 or x.ndim < 1:
        return _linear_with_shared_weight(emit, x, weight, bias)
    own_bias = None if bias is None else emit.lane_major(bias)
    if not x.is_shared:
        return emit.in_lanes(emit.call(grouped.linear, emit.lane_major(x), emit.lane_major(weight), own_bias))
    return emit.in_lanes(emit.call(grouped.linear_shared, emit.shared(x), emit.lane_major(weight), own_bias))


def _linear_with_shared_weight(emit: Emitter, x: Value, weight: Value, bias: Value | None) -> Value | None:
    if not weight.is_shared or x.ndim < 2 or (bias is not None and not bias.is_shared):
        return None
    shared_bias = None if bias is None else emit.shared(bias)
    return emit.in_lanes(emit.call(plain.linear, emit.lane_major(x), emit.shared(weight), shared_bias))


@lane_rule(aten.matmul.default, aten.bmm.default, aten.mm.default)
def matmul_lanes(emit: Emitter, op: OpOverload, left: Value, right: Value) -> Value | None:
    """Exact: lanes are one more batch axis of the product."""
    if left.ndim < 2 or right.ndim < 2:
        return None
    batch = max(left.ndim, right.ndim)
    rows = emit.lane_major(left) if left.ndim == batch else emit.broadcastable(left, batch)
    # A matrix for the whole batch is not repeated for it.
    columns = emit.lane_major(right) if right.ndim in (2, batch) else emit.broadcastable(right, batch)
    return emit.in_lanes(emit.call(grouped.product, rows, columns))


@lane_rule(aten.addmm.default)
def addmm_lanes(
    emit: Emitter, op: OpOverload, bias: Value, x: Value, weight: Value, beta: float, alpha: float
) -> Value | None:
    """Exact: a batched product, and a bias broadcast over the rows."""
    if bias.ndim > 2:
        return None
    product = emit.call(grouped.product, emit.lane_major(x), emit.lane_major(weight))
    scaled = product if alpha == 1 else emit.call(torch.mul, product, alpha)
    own_bias = emit.broadcastable(bias, 2)
    return emit.in_lanes(emit.call(torch.add, scaled, own_bias if beta == 1 else emit.call(torch.mul, own_bias, beta)))


@lane_rule(aten.baddbmm.default)
def baddbmm_lanes(
    emit: Emitter, op: OpOverload, bias: Value, left: Value, right: Value, beta: float, alpha: float
) -> Value:
    """Exact: lanes are one more batch axis of the product."""
    product = emit.call(torch.matmul, emit.broadcastable(left, 3), emit.broadcastable(right, 3))
    scaled = product if alpha == 1 else emit.call(torch.mul, product, alpha)
    own_bias = emit.broadcastable(bias, 3)
    return emit.in_lanes(emit.call(torch.add, scaled, own_bias if beta == 1 else emit.call(torch.mul, own_bias, beta)))


@lane_rule(aten.einsum.default)
def einsum_lanes(
    emit: Emitter, op: OpOverload, equation: str, tensors: Sequence[Value], path: Sequence[int] | None
) -> Value | None:
    """Exact: lanes are one more letter, which the output keeps."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    unused = next((letter for letter in ascii_letters if letter not in equation), "")
    if not arrow or not unused:
        return None
    terms = [term if x.is_shared else unused + term for term, x in zip(inputs.split(","), tensors, strict=True)]
    operands = [emit.shared(x) if x.is_shared else emit.lane_major(x) for x in tensors]
    return emit.in_lanes(emit.call(torch.einsum, f"{','.join(terms)}->{unused}{output}", operands))
