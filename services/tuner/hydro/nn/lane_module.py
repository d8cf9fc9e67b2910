"""The frame of the twins: one module that holds the tensors of many.

Legend: G lanes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn


class LaneModule(nn.Module):
    """Many torch modules of one class and configuration; what it does to lane `i` is what torch's does to that one.

    Every parameter and buffer is torch's with a lane axis first, under torch's name, so that `state_dict()` sliced at a
    lane loads into the plain module. Attributes such as `in_features` or `stride` are torch's.
    """

    twin_of: ClassVar[type[nn.Module]]
    """The class in torch.nn."""

    _template: tuple[Any]

    def __init__(self, *args: Any, lanes: int, **kwargs: Any) -> None:
        """Makes `lanes` modules, each with torch's own initial values, drawn one after the other.

        Args:
            *args: Those of torch's class.
            lanes: How many.
            **kwargs: Those of torch's class.
        """
        super().__init__()
        if lanes < 1:
            raise ValueError(f"lanes is {lanes}: give 1 or more")
        self._stack([self.twin_of(*args, **kwargs) for _ in range(lanes)])

    @classmethod
    def from_lanes(cls, modules: Sequence[nn.Module]) -> Self:
        """Stacks copies of existing modules.

        Raises:
            ValueError: there is none, one is of another class, or their tensors differ in name or shape.
        """
        for lane, module in enumerate(modules):
            if type(module) is not cls.twin_of:
                raise ValueError(f"module {lane} is a {type(module).__name__}, not a torch.nn.{cls.twin_of.__name__}")
        if len({repr(module) for module in modules}) != 1:
            raise ValueError("the modules are not configured alike, or there is none")
        twin = cls.__new__(cls)
        nn.Module.__init__(twin)
        twin._stack(modules)
        return twin

    def _stack(self, modules: Sequence[nn.Module]) -> None:
        first = modules[0]
        for name, parameter in first.named_parameters():
            rows = torch.stack([module.get_parameter(name).detach() for module in modules])
            self._parameters[name] = nn.Parameter(rows, requires_grad=parameter.requires_grad)
        for name, _ in first.named_buffers():
            self.register_buffer(name, torch.stack([module.get_buffer(name) for module in modules]))
        # In a tuple, so that it is no submodule; without data.
        self._template = (copy.deepcopy(first).to("meta"),)

    def __getattr__(self, name: str) -> Any:
        # torch's modules hold what is absent as a parameter None: so does the template.
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "_template":
                raise
            return getattr(self._template[0], name)

    @property
    def lanes(self) -> int:
        """The number of lanes; 0 where the module has no tensor, so that any number fits."""
        return next((len(tensor) for tensor in (*self.parameters(), *self.buffers())), 0)

    def extra_repr(self) -> str:
        """Torch's, and the lanes."""
        return ", ".join(part for part in (self._template[0].extra_repr(), f"lanes={self.lanes}") if part)


def lane_state_dict(module: nn.Module, lane: int) -> dict[str, Tensor]:
    """Gives copies of a lane's tensors: what the same architecture of torch's own modules loads.

    Args:
        module: A twin, or a module made of twins.
        lane: Its index.
    """
    return {name: tensor.detach()[lane].clone() for name, tensor in module.state_dict().items()}


def load_lane(module: nn.Module, lane: int, state: Mapping[str, Tensor]) -> None:
    """Writes a plain module's state_dict into a lane.

    Raises:
        ValueError: a name is missing, or one is unknown.
    """
    stacked = module.state_dict()
    if stacked.keys() != state.keys():
        raise ValueError(f"the state has other tensors: {sorted(stacked.keys() ^ state.keys())}")
    for name, tensor in stacked.items():
        tensor[lane] = state[name]


def take(module: nn.Module, indices: Sequence[int]) -> None:
    """Keeps the lanes with these indices, in this order (an index given twice is a clone); parameters stay the same
    objects, as an optimizer of hydro.optim needs it, whose own `take` follows.
    """
    kept = list(indices)
    for parameter in module.parameters():
        parameter.grad, parameter.data = None, parameter.data[kept]
    for buffer in module.buffers():
        buffer.data = buffer.data[kept]
