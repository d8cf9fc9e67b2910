"""Where ops have the samples of their output: each rule stands for ops that treat samples by themselves.

A rule gives None where its op mixes samples. Whatever has no rule is taken to mix them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.samples import SampleAxis, SampleCall
from hydro.tuner.ops.registry import sample_rule

aten = torch.ops.aten


@sample_rule(
    aten.add.Tensor, aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.masked_fill.Scalar,
    aten.masked_fill.Tensor, aten.broadcast_tensors.default,
)  # fmt: skip
def pointwise(call: SampleCall) -> SampleAxis | None:
    """Element by element."""
    return call.aligned(*(leaf for leaf in pytree.tree_leaves(list(call.arguments.values()))))


@sample_rule(
    aten.mse_loss.default, aten.l1_loss.default, aten.smooth_l1_loss.default, aten.huber_loss.default,
    aten.binary_cross_entropy.default, aten.binary_cross_entropy_with_logits.default, aten.kl_div.default,
)  # fmt: skip
def pointwise_loss(call: SampleCall) -> SampleAxis | None:
    """Element by element where it is not reduced."""
    return pointwise(call) if call.arguments["reduction"] == 0 else None


@sample_rule(aten.cross_entropy_loss.default, aten.nll_loss_nd.default)
def class_loss(call: SampleCall) -> SampleAxis | None:
    """A loss for each sample where it is not reduced."""
    given = call.arguments
    first, target = call.of(given["self"]), call.of(given["target"])
    is_plain = given["reduction"] == 0 and call.of(given["weight"]) is None
    return first if is_plain and first == target and first is not None and first.axis == 0 else None


@sample_rule(
    aten.dropout.default, aten.alpha_dropout.default, aten.feature_dropout.default, aten.bernoulli.p,
    aten.feature_alpha_dropout.default, aten.contiguous.default, aten.clone.default, aten.detach.default,
    aten.alias.default, aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten._to_copy.default,
    aten.type_as.default, aten.zeros_like.default, aten.ones_like.default, aten.full_like.default,
    aten.lift_fresh_copy.default,
)  # fmt: skip
def same_shape(call: SampleCall) -> SampleAxis | None:
    """The shape of the first operand, element by element; noise is drawn for a lane's own samples."""
    return call.of(next(iter(call.arguments.values())))


@sample_rule(aten.linear.default)
def linear(call: SampleCall) -> SampleAxis | None:
    """Sums along the last axis."""
    return _unless_last(call, "input", 1)


@sample_rule(aten.layer_norm.default, aten.rms_norm.default)
def layer_norm(call: SampleCall) -> SampleAxis | None:
    """Statistics along the last axes."""
    return _unless_last(call, "input", len(call.arguments["normalized_shape"]))


@sample_rule(aten.pad.default, aten.constant_pad_nd.default)
def padding(call: SampleCall) -> SampleAxis | None:
    """Two numbers for each of the last axes."""
    return _unless_last(call, "self", len(call.arguments["pad"]) // 2)


@sample_rule(aten.group_norm.default)
def group_norm(call: SampleCall) -> SampleAxis | None:
    """Statistics of each sample."""
    return _first(call, "input")


@sample_rule(aten.embedding.default)
def embedding(call: SampleCall) -> SampleAxis | None:
    """A row for each index."""
    return call.own("indices")


@sample_rule(aten.one_hot.default)
def one_hot(call: SampleCall) -> SampleAxis | None:
    """A row for each class number."""
    return call.own("self")


@sample_rule(
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding, aten.conv2d.padding,
    aten.conv3d.padding,
)  # fmt: skip
def convolution(call: SampleCall) -> SampleAxis | None:
    """Each sample with the filters; an input without a sample axis is one sample."""
    return _first(call, "input") if call.ndim("input") == call.ndim("weight") else None


@sample_rule(
    aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default, aten.avg_pool1d.default,
    aten.avg_pool2d.default, aten.avg_pool3d.default, aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool3d.default, aten.adaptive_max_pool2d.default,
)  # fmt: skip
def pooling(call: SampleCall) -> SampleAxis | None:
    """Each channel of each sample: as many axes as the op's name says, and those two before them."""
    packet = str(call.nodes[0].target).split(".")[1]
    return _first(call, "self") if call.ndim("self") == 2 + int(packet[-2]) else None


@sample_rule(aten.softmax.int, aten.log_softmax.int, aten.cumsum.default, aten.glu.default)
def along_an_axis(call: SampleCall) -> SampleAxis | None:
    """Along an axis that is not the samples'."""
    found = call.own("self")
    return found if found is not None and call.arguments["dim"] % call.ndim("self") != found.axis else None


@sample_rule(
    aten.mean.dim, aten.sum.dim_IntList, aten.amax.default, aten.amin.default, aten.logsumexp.default,
    aten.var.correction, aten.std.correction, aten.argmax.default, aten.max.dim, aten.min.dim,
    aten.linalg_vector_norm.default, aten.any.dim, aten.all.dim,
)  # fmt: skip
def reduction(call: SampleCall) -> SampleAxis | None:
    """Over axes that are not the samples'; over theirs, or over all, samples are mixed."""
    found, axes = call.own("self"), call.arguments["dim"]
    if found is None or axes is None or axes == []:
        return None
    ndim = call.ndim("self")
    listed = {axis % ndim for axis in ([axes] if isinstance(axes, int) else axes)}
    if found.axis in listed:
        return None
    gone = 0 if call.arguments["keepdim"] else sum(axis < found.axis for axis in listed)
    return SampleAxis(found.axis - gone, found.inner)


@sample_rule(
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints, aten.unflatten.int,
    aten.unsqueeze.default, aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims,
)  # fmt: skip
def reshape(call: SampleCall) -> SampleAxis | None:
    """Row-major: where as many elements stand before an axis as before, it has the samples in the same order."""
    found = call.own("self")
    if found is None:
        return None
    before = prod(call.shapes("self")[0][: found.axis])
    for axis, size in enumerate(call.outputs[0]):
        sample = SampleAxis(axis, size // call.lengths[0])
        if sample.inner and all(
            prod(shape[:axis]) == before and shape[axis] == length * sample.inner
            for shape, length in zip(call.outputs, call.lengths, strict=True)
        ):
            return sample
    return None


@sample_rule(aten.transpose.int, aten.permute.default, aten.t.default)
def permute(call: SampleCall) -> SampleAxis | None:
    """The axes in another order."""
    found, given = call.own("self"), call.arguments
    if found is None:
        return None
    order = list(range(call.ndim("self")))
    if "dims" in given:
        order = [axis % len(order) for axis in given["dims"]]
    else:
        one, other = (given.get("dim0", 0), given.get("dim1", -1))
        order[one], order[other] = order[other], order[one]
    return SampleAxis(order.index(found.axis), found.inner)


@sample_rule(aten.expand.default)
def expand(call: SampleCall) -> SampleAxis | None:
    """New axes on the left, and axes of size one repeated: the shapes say that the samples are not."""
    return call.aligned(call.arguments["self"])


@sample_rule(aten.select.int)
def select(call: SampleCall) -> SampleAxis | None:
    """One place along an axis that is not the samples'."""
    return _without(call.own("self"), call.arguments["dim"] % call.ndim("self"))


@sample_rule(aten.slice.Tensor)
def slices(call: SampleCall) -> SampleAxis | None:
    """Places along an axis that is not the samples', or all of them."""
    found, given = call.own("self"), call.arguments
    is_whole = not given["start"] and given["step"] == 1 and (given["end"] is None or given["end"] >= 2**62)
    return found if found is not None and (is_whole or given["dim"] % call.ndim("self") != found.axis) else None


@sample_rule(aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)
def split(call: SampleCall) -> SampleAxis | None:
    """Parts along an axis that is not the samples'."""
    return along_an_axis(call)


@sample_rule(aten.unbind.int)
def unbind(call: SampleCall) -> SampleAxis | None:
    """Each place along an axis that is not the samples'."""
    return _without(call.own("self"), call.arguments["dim"] % call.ndim("self"))


@sample_rule(aten.cat.default)
def concatenate(call: SampleCall) -> SampleAxis | None:
    """Along an axis that is not the samples', of tensors which all have samples at one place."""
    tensors: Sequence[torch.fx.Node] = call.arguments["tensors"]
    found = {call.of(tensor) for tensor in tensors}
    sample = found.pop()
    axis = call.arguments["dim"] % len(call.outputs[0])
    return sample if not found and sample is not None and axis != sample.axis else None


@sample_rule(aten.addmm.default)
def addmm(call: SampleCall) -> SampleAxis | None:
    """Rows of the first factor by themselves."""
    return _unless_last(call, "mat1", 1)


@sample_rule(aten.mm.default)
def mm(call: SampleCall) -> SampleAxis | None:
    """Rows of the first factor by themselves."""
    return _unless_last(call, "self", 1)


@sample_rule(aten.matmul.default, aten.bmm.default)
def matmul(call: SampleCall) -> SampleAxis | None:
    """A product for each place along the axes before the last two; rows of the first factor by themselves."""
    left, right = call.arguments["self"], next(each for name, each in call.arguments.items() if name != "self")
    if min(left.meta["val"].ndim, right.meta["val"].ndim) < 2:
        return None
    if call.of(right) is None and call.of(left) is not None:
        found = call.aligned(left)
        return found if found is not None and found.axis < len(call.outputs[0]) - 1 else None
    found = call.aligned(left, right)
    return found if found is not None and found.axis < len(call.outputs[0]) - 2 else None


@sample_rule(aten.scaled_dot_product_attention.default)
def attention(call: SampleCall) -> SampleAxis | None:
    """Attention within each place along the axes before the last two."""
    given = call.arguments
    named = [call.of(given[name]) for name in ("query", "key", "value")]
    found = call.aligned(given["query"], given["key"], given["value"], given["attn_mask"])
    if None in named or found is None or found.axis >= len(call.outputs[0]) - 2:
        return None
    return found


def _first(call: SampleCall, name: str) -> SampleAxis | None:
    found = call.own(name)
    return found if found is not None and found.axis == 0 else None


def _unless_last(call: SampleCall, name: str, count: int) -> SampleAxis | None:
    """The axis of an operand, unless it is one of the last ones."""
    found = call.own(name)
    return found if found is not None and found.axis < call.ndim(name) - count else None


def _without(found: SampleAxis | None, gone: int) -> SampleAxis | None:
    if found is None or found.axis == gone:
        return None
    return SampleAxis(found.axis - (gone < found.axis), found.inner)
