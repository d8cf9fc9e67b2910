"""What a parameter is to muP: which of its dimensions shrink, and over which of them it is contracted.

The graph tells both: a dimension that is summed over is fan-in, wherever it stands in the tensor's shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from hydro.tuner.shrinking.dimensions import Dim
from hydro.tuner.shrinking.propagation import Propagation, Use
from hydro.tuner.shrinking.sizes import Sizes


class TensorClass(Enum):
    """The rows of muP's table."""

    FIXED = "fixed"
    """No dimension shrinks."""
    VECTOR = "vector"
    """One kind of dimension shrinks, none is contracted: input weights, embeddings, biases, gains."""
    HIDDEN = "hidden"
    """Fan-in and fan-out shrink."""
    READOUT = "readout"
    """Only fan-in shrinks."""
    MULTIPLIED_READOUT = "multiplied readout"
    """A readout behind a constant multiplier: tied to an embedding, or under a gradient clip."""
    BUFFER = "buffer"
    """Not trained."""


@dataclass(frozen=True, slots=True)
class Classified:
    """A parameter's class, and how far its fan-in and fan-out shrink (surrogate over target)."""

    tensor_class: TensorClass
    fan_in_ratio: float
    fan_out_ratio: float


def classify(found: Propagation, sizes: Sizes, name: str, *, multiplied_readout: bool) -> Classified:
    """The class of one parameter, from all its uses."""
    atoms = found.dimensions.atoms(atom for dim in found.tensors[name] for atom in dim)
    uses = [each for each in found.uses if each.tensor == name]
    ratios = [_fan_in_ratio(found, sizes, atoms, use) for use in uses] or [1.0]
    whole = sizes.ratio(atoms)
    fan_in = next((ratio for ratio in ratios if ratio != 1), 1.0)
    if whole == 1 and fan_in == 1:
        return Classified(TensorClass.FIXED, 1.0, 1.0)
    if fan_in == 1:
        return Classified(TensorClass.VECTOR, 1.0, whole)
    if any(ratio == 1 for ratio in ratios):
        return Classified(TensorClass.MULTIPLIED_READOUT, fan_in, 1.0)
    if whole != fan_in:
        return Classified(TensorClass.HIDDEN, fan_in, whole / fan_in)
    return Classified(TensorClass.MULTIPLIED_READOUT if multiplied_readout else TensorClass.READOUT, fan_in, 1.0)


def contracted_ratio(found: Propagation, sizes: Sizes, use: Use) -> float:
    """How far a use's fan-in shrinks: one where nothing that shrinks is summed over."""
    atoms = found.dimensions.atoms(atom for dim in found.tensors[use.tensor] for atom in dim)
    return _fan_in_ratio(found, sizes, atoms, use)


def _fan_in_ratio(found: Propagation, sizes: Sizes, atoms: Sequence[int], use: Use) -> float:
    contracted: Dim = found.dimensions.atoms(use.contracted)
    return sizes.ratio(tuple(atom for atom in contracted if atom in atoms))
