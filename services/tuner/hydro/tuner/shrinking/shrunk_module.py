"""The surrogate as a module: the target's names, modules and methods, smaller tensors, rewritten graphs."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import Tensor

from hydro.tuner.shrinking.programs import Program, Programs
from hydro.tuner.shrinking.templates import copy_with_tensors
from hydro.tuner.tracing import LazilyTraced


class ShrunkModule(LazilyTraced):
    """The target with fewer channels.

    Parameters, buffers and submodules have the target's names and types, so an optimizer or a checkpoint that goes by
    names or types works as it does for the target. Submodules hold tensors; only the whole model computes.
    """

    def __init__(self, programs: Programs, new: Callable[[str, Tensor], Tensor]) -> None:
        super().__init__()
        self._programs = programs
        copied = copy_with_tensors(programs.template.model, new)
        self._parameters = copied._parameters
        self._buffers = copied._buffers
        self._modules = copied._modules
        self._non_persistent_buffers_set = copied._non_persistent_buffers_set

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the target computes, narrower."""
        return self.program(*args, **kwargs)(self, args, kwargs)

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        """Builds the program for inputs like these, in the module's present mode, without running it."""
        self.program(*args, **kwargs)

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program for inputs like these, in the module's present mode."""
        return self._programs.get(self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "_programs" not in self.__dict__:
                raise
            target = self._programs.template.model
            found = getattr(type(target), name, None)
            if callable(found):
                return MethodType(found, self)
            return getattr(target, name)
