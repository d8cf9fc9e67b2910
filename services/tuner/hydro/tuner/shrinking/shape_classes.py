"""A second look at what a parameter is: by its shapes at two widths and the module that holds it.

The graph says over which axis a parameter is contracted, its module's type says which axis is fan-in, and neither knows
of the other. Where they tell different things of how far fan-in shrinks, one of them is wrong, and no factor is safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from hydro.kit.errors import InvalidArgument
from hydro.tuner.shrinking.classification import contracted_ratio
from hydro.tuner.shrinking.propagation import Propagation, place
from hydro.tuner.shrinking.sizes import Sizes
from hydro.tuner.shrinking.solution import TensorSolution
from hydro.tuner.tracing import NotTraceable

_FAN_IN_AXES: Mapping[type[nn.Module], int | None] = {
    nn.Linear: 1, nn.Conv1d: 1, nn.Conv2d: 1, nn.Conv3d: 1, nn.ConvTranspose1d: 0, nn.ConvTranspose2d: 0,
    nn.ConvTranspose3d: 0, nn.Embedding: None,
}  # fmt: skip
_OF_SEVERAL_MATRICES = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
"""Of their own matrices, the last axis is fan-in."""


def fan_in_axis(module: nn.Module, own_name: str) -> int | None:
    """The axis of a module's own parameter that is contracted; None: it is looked up.

    Raises:
        NotTraceable: the module's type does not tell.
    """
    for known, axis in _FAN_IN_AXES.items():
        if isinstance(module, known) and own_name == "weight":
            return axis
    if isinstance(module, _OF_SEVERAL_MATRICES) and "weight" in own_name:
        return 1
    raise NotTraceable(
        f"a {type(module).__name__} holds it as {own_name}: put it into a Linear, a convolution or an Embedding"
    )


_TOLERANCE = 1e-9


class ClassesDisagree(InvalidArgument):
    """A parameter's use and its shape tell different fan-ins."""

    default_reason = "CLASSES_DISAGREE"


def require_agreement(found: Propagation, sizes: Sizes, model: nn.Module, tensors: Iterable[TensorSolution]) -> None:
    """Compares both looks at the weight of every module whose type is known and which is used in one way.

    Raises:
        ClassesDisagree: names the first parameter of which they tell different things.
    """
    modules = dict(model.named_modules())
    for each in tensors:
        module = modules.get(each.name.removesuffix(".weight")) if each.name.endswith(".weight") else None
        if module is None or type(module) not in _FAN_IN_AXES or getattr(module, "groups", 1) != 1:
            continue
        uses = [use for use in found.uses if use.tensor == each.name]
        by_use = {contracted_ratio(found, sizes, use) for use in uses}
        by_shape = _ratio(each, _FAN_IN_AXES[type(module)])
        # Used in several ways it is tied, which no shape can tell.
        if len(by_use) == 1 and abs(min(by_use) - by_shape) > _TOLERANCE:
            raise ClassesDisagree(
                f"{each.name}: in {place(uses[0].node)} its fan-in shrinks to {min(by_use):g} of the target's, but by"
                f" its shape in a {type(module).__name__} to {by_shape:g}: hold it in a module of a type that fits, or"
                " as a plain parameter"
            )


def _ratio(each: TensorSolution, axis: int | None) -> float:
    return 1.0 if axis is None else each.shape[axis] / each.target_shape[axis]
