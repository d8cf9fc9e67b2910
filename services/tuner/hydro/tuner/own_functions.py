"""Subclasses of torch.autograd.Function in an export: each call stays one op, with the backward that it defines.

The exporter looks into `forward` alone and would lose `backward` without a word: a rounding with a straight-through
gradient would have none. So a call is recorded as an op of the namespace `hydro_functions`, which calls the class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.autograd import Function
from torch.autograd.function import BackwardCFunction
from torch.utils import _pytree as pytree

_NAMESPACE = "hydro_functions"
_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device)


@dataclass(frozen=True, slots=True)
class _Call:
    """A class with all its arguments but tensors."""

    function: type[Function]
    spec: Any
    leaves: tuple[Any, ...]
    """None where a tensor stands."""
    where: tuple[int, ...]

    def is_like(self, other: _Call) -> bool:
        """Whether both compute the same of equal tensors."""
        mine = (self.function, self.where, self.spec)
        return mine == (other.function, other.where, other.spec) and all(map(_same, self.leaves, other.leaves))


class RecordedFunctions:
    """The ops that stand for the user's functions. There is one of these in a process, as ops have names in it."""

    def __init__(self) -> None:
        """Starts with none."""
        self._library = torch.library.Library(_NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]
        self._ops: list[tuple[_Call, OpOverload]] = []
        self._seen: list[Any] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Has every `MyFunction.apply(...)` go through an op."""
        original = vars(Function)["apply"]

        def apply(function: type[Function], *args: Any, **kwargs: Any) -> Any:
            if _is_torchs(function):
                return original.__get__(None, function)(*args, **kwargs)
            flat, spec = pytree.tree_flatten((args, kwargs))
            where = tuple(index for index, leaf in enumerate(flat) if isinstance(leaf, Tensor))
            leaves = tuple(None if index in where else leaf for index, leaf in enumerate(flat))
            outputs = self._op(_Call(function, spec, leaves, where), original)([flat[index] for index in where])
            return outputs[0] if len(outputs) == 1 else tuple(outputs)

        type.__setattr__(Function, "apply", classmethod(apply))
        self._seen.clear()
        try:
            yield
        finally:
            type.__setattr__(Function, "apply", original)
            self._seen.clear()

    def missed(self, outputs: Sequence[Tensor]) -> str:
        """Names a function by way of which outputs came without being recorded, "" where there is none.

        A module may have taken `MyFunction.apply` into a name of its own before.
        """
        waiting, known = [each.grad_fn for each in outputs], set()
        while waiting:
            node = waiting.pop()
            if node is None or node in known:
                continue
            known.add(node)
            if isinstance(node, BackwardCFunction) and not any(node is each for each in self._seen):
                function = type(node)._forward_cls
                if not _is_torchs(function):
                    return str(function.__qualname__)
            waiting += [each for each, _ in node.next_functions]
        return ""

    def _op(self, call: _Call, apply: Any) -> OpOverload:
        found = next((op for known, op in self._ops if known.is_like(call)), None)
        if found is not None:
            return found
        name = f"{re.sub('[^0-9A-Za-z]', '_', call.function.__qualname__)}_{len(self._ops)}"
        # It may draw: where random streams are, each lane gets its own.
        schema = f"{name}(Tensor[] inputs) -> Tensor[]"
        self._library.define(schema, tags=(torch.Tag.nondeterministic_seeded,))  # type: ignore[no-untyped-call]
        run = self._runner(call, apply.__get__(None, call.function))
        self._library.impl(name, run, "CompositeImplicitAutograd")  # type: ignore[no-untyped-call]
        op: OpOverload = getattr(getattr(torch.ops, _NAMESPACE), name).default
        self._ops.append((call, op))
        return op

    def _runner(self, call: _Call, apply: Callable[..., Any]) -> Callable[[list[Tensor]], list[Tensor]]:
        def run(inputs: list[Tensor]) -> list[Tensor]:
            given = list(call.leaves)
            for index, tensor in zip(call.where, inputs, strict=True):
                given[index] = tensor
            args, kwargs = pytree.tree_unflatten(given, call.spec)
            versions = [tensor._version for tensor in inputs]
            outputs = apply(*args, **kwargs)
            several = list(outputs) if isinstance(outputs, tuple) else [outputs]
            if [tensor._version for tensor in inputs] != versions or not all(isinstance(x, Tensor) for x in several):
                name = call.function.__qualname__
                raise RuntimeError(
                    f"{name} changes its inputs in place or gives what is no tensor: it cannot be traced"
                )
            self._seen += [each.grad_fn for each in several]
            return several

        return run


@cache
def recorded_functions() -> RecordedFunctions:
    """Gives the process's own."""
    return RecordedFunctions()


def _is_torchs(function: type[Function]) -> bool:
    return function.__module__.split(".")[0] == "torch"


def _same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, _PLAIN) and type(one) is type(other) and bool(one == other))
