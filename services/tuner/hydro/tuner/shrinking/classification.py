"""What a parameter is to the parametrization: which of its dimensions shrink, and over which of them it is contracted.

The graph tells both: a dimension that is summed over is fan-in, wherever it stands in the tensor's shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from torch._ops import OpOverload

from hydro.tuner.ops.registry import bind
from hydro.tuner.shrinking.dimensions import Dim
from hydro.tuner.shrinking.propagation import Propagation, Use
from hydro.tuner.shrinking.sizes import Sizes
from hydro.tuner.tracing import location


class TensorClass(Enum):
    """The rows of the table."""

    FIXED = "fixed"
    """No dimension shrinks."""
    INPUT = "input"
    """Only fan-out shrinks: the first layer."""
    VECTOR = "vector"
    """One kind of dimension shrinks and none is contracted: embeddings, biases, gains."""
    DEPTHWISE = "depthwise"
    """A convolution of each channel by itself, and channels shrink."""
    GROUPED_BY_COUNT = "grouped by count"
    """A convolution in groups that keep their size while their number shrinks."""
    HIDDEN = "hidden"
    """Fan-in and fan-out shrink."""
    GROUPED_BY_SIZE = "grouped by size"
    """A convolution in groups that shrink."""
    READOUT = "readout"
    """Only fan-in shrinks: the last layer."""
    MULTIPLIED_READOUT = "multiplied readout"
    """A readout behind a constant multiplier, which keeps a bound on the gradient's norm meaningful across widths."""
    TIED = "tied"
    """A readout, behind such a multiplier, and an embedding or input layer in one."""
    BUFFER = "buffer"
    """Not trained."""


@dataclass(frozen=True, slots=True)
class Classified:
    """A parameter's class, how far its fan-in and fan-out shrink (surrogate over target), and why it is that."""

    tensor_class: TensorClass
    fan_in_ratio: float
    fan_out_ratio: float
    reason: str = ""
    """Where it is used, and how."""


def classify(found: Propagation, sizes: Sizes, name: str, *, multiplied_readout: bool) -> Classified:
    """The class of one parameter, from all its uses."""
    atoms = found.dimensions.atoms(atom for dim in found.tensors[name] for atom in dim)
    uses = [each for each in found.uses if each.tensor == name]
    ratios = [_fan_in_ratio(found, sizes, atoms, use) for use in uses] or [1.0]
    whole, fan_in = sizes.ratio(atoms), next((ratio for ratio in ratios if ratio != 1), 1.0)
    tensor_class = _class(found, uses, ratios, whole, multiplied_readout)
    reason = "; ".join(dict.fromkeys(_described(found, name, use) for use in uses))
    if tensor_class is TensorClass.FIXED:
        return Classified(tensor_class, 1.0, 1.0, reason)
    is_readout = tensor_class in (TensorClass.READOUT, TensorClass.MULTIPLIED_READOUT, TensorClass.TIED)
    return Classified(tensor_class, fan_in, 1.0 if is_readout else whole / fan_in, reason)


def contracted_ratio(found: Propagation, sizes: Sizes, use: Use) -> float:
    """How far a use's fan-in shrinks: one where nothing that shrinks is summed over."""
    atoms = found.dimensions.atoms(atom for dim in found.tensors[use.tensor] for atom in dim)
    return _fan_in_ratio(found, sizes, atoms, use)


def _class(
    found: Propagation, uses: Sequence[Use], ratios: Sequence[float], whole: float, multiplied_readout: bool
) -> TensorClass:
    fan_in = next((ratio for ratio in ratios if ratio != 1), 1.0)
    is_grouped = any(_groups(use) > 1 for use in uses)
    if whole == 1 and fan_in == 1:
        return TensorClass.FIXED
    if fan_in == 1:
        if is_grouped:
            return TensorClass.DEPTHWISE if _is_depthwise(found, uses) else TensorClass.GROUPED_BY_COUNT
        return TensorClass.INPUT if any(_is_contracted(use) for use in uses) else TensorClass.VECTOR
    if any(ratio == 1 for ratio in ratios):
        return TensorClass.TIED
    if whole != fan_in:
        return TensorClass.GROUPED_BY_SIZE if is_grouped else TensorClass.HIDDEN
    return TensorClass.MULTIPLIED_READOUT if multiplied_readout else TensorClass.READOUT


def _groups(use: Use) -> int:
    """Of a convolution's kernel; one for anything else, its bias too."""
    return int(bind(use.node)["groups"]) if _is_kernel(use) else 1


def _is_kernel(use: Use) -> bool:
    target = use.node.target
    is_convolution = isinstance(target, OpOverload) and target.overloadpacket.__name__.startswith("conv")
    return is_convolution and use.operand is bind(use.node).get("weight")


def _is_depthwise(found: Propagation, uses: Sequence[Use]) -> bool:
    return all(found.dimensions.size(found.tensors[use.tensor][1]) == 1 for use in uses if _groups(use) > 1)


def _is_contracted(use: Use) -> bool:
    # A convolution over one channel sums over the kernel, and has no dimension for that channel.
    return bool(use.contracted) or _is_kernel(use)


def _described(found: Propagation, name: str, use: Use) -> str:
    op = use.node.target.overloadpacket.__name__ if isinstance(use.node.target, OpOverload) else str(use.node.target)
    contracted, groups = found.dimensions.atoms(use.contracted), _groups(use)
    axes = [axis for axis, dim in enumerate(found.tensors[name]) if found.dimensions.atoms(dim) == contracted != ()]
    how = f" over axis {axes[-1]}" if axes else ""
    grouped = f" in {groups} groups" if groups > 1 else ""
    where = location(use.node)
    return f"{op}{how}{grouped}" + (f" at {where}" if where else "")


def _fan_in_ratio(found: Propagation, sizes: Sizes, atoms: Sequence[int], use: Use) -> float:
    contracted: Dim = found.dimensions.atoms(use.contracted)
    return sizes.ratio(tuple(atom for atom in contracted if atom in atoms))
