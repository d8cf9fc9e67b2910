"""The surrogate's programs: one for each mode and shape of inputs, built from the target's graph when first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from hydro.tuner.shrinking.given_sizes import SizesDisagree, fit_sizes
from hydro.tuner.shrinking.propagation import Propagation, propagate
from hydro.tuner.shrinking.rewriting import rewrite
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.shrinking.templates import Template
from hydro.tuner.tracing import NotTraceable, Trace

_Source = Callable[[nn.Module], Tensor]


@dataclass(frozen=True, slots=True)
class Program:
    """A rewritten graph, and where each of its tensors comes from."""

    graph_module: GraphModule
    sources: tuple[_Source, ...]
    rebuild: Callable[[Sequence[Any]], Any]

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Runs it with the module's tensors."""
        return self.rebuild(self.graph_module(*self.flat_inputs(module, args, kwargs)))

    def flat_inputs(self, module: nn.Module, args: Any, kwargs: Any) -> list[Any]:
        """The graph's inputs: the module's tensors, then the leaves of the call's."""
        return [*(source(module) for source in self.sources), *pytree.tree_leaves((args, kwargs))]

    def layers(self) -> dict[Node, str]:
        """The calls that a parameter of more than one axis goes into, by the name of the module that holds it."""
        found: dict[Node, str] = {}
        for node, source in zip(self.graph_module.graph.find_nodes(op="placeholder"), self.sources, strict=False):
            if isinstance(source, _Attribute) and source.is_parameter and node.meta["val"].ndim > 1:
                found.update(dict.fromkeys(node.users, ".".join(source.path[:-1]) or source.path[-1]))
        return found


class Programs:
    """Builds and keeps programs. Copies of a surrogate share them; a pickle leaves them out."""

    def __init__(self, template: Template, solution: Solution) -> None:
        self._template = template
        self._solution = solution
        self._programs: dict[object, Program] = {}

    @property
    def template(self) -> Template:
        """The target they are built from."""
        return self._template

    def get(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        """The program for the module's mode and inputs like these.

        Raises:
            NotTraceable: the target cannot be exported for such inputs; or it would have to be, in the middle of an
                export: call the surrogate with such inputs first.
        """
        key = _key(module, args, kwargs)
        if key not in self._programs:
            if torch.compiler.is_compiling():
                raise NotTraceable(
                    "the surrogate has no program for these input shapes: call it with such inputs before exporting"
                )
            self._programs[key] = self._build(module, args, kwargs)
        return self._programs[key]

    def add(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], program: Program) -> None:
        """Keeps a program that is there already."""
        self._programs[_key(module, args, kwargs)] = program

    def __deepcopy__(self, memo: dict[int, Any]) -> Programs:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"_template": self._template, "_solution": self._solution, "_programs": {}}

    def _build(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        tensors = dict([*module.named_parameters(), *module.named_buffers()])
        found = propagate(self._template.trace(args, kwargs, train=module.training, like=tensors))
        return build_program(found, self._solution)


def build_program(found: Propagation, solution: Solution) -> Program:
    """Rewrites a graph of the target to the solution's sizes.

    Raises:
        NotTraceable: for these inputs the model computes in a way that would want other sizes.
    """
    try:
        sizes = fit_sizes(found.dimensions, found.tensors, {each.name: each.shape for each in solution.tensors})
    except SizesDisagree as disagreement:
        raise NotTraceable(
            f"for these inputs the model would shrink otherwise than for the example's: {disagreement}"
        ) from (disagreement)
    graph_module = rewrite(found, sizes, solution.parametrization, solution.stacks)
    return Program(graph_module, _sources(found.trace), found.trace.rebuild)


def _sources(traced: Trace) -> tuple[_Source, ...]:
    sources: list[_Source] = []
    for node in traced.graph.find_nodes(op="placeholder"):
        name = traced.parameters.get(node.name) or traced.buffers.get(node.name)
        if name is not None:
            sources.append(_Attribute(tuple(name.split(".")), node.name in traced.parameters))
        elif node.name in traced.constants:
            sources.append(_Constant(traced.constants[node.name]))
    return tuple(sources)


@dataclass(frozen=True, slots=True)
class _Attribute:
    """A parameter or buffer, looked up at each call: an export puts its own in the module's place."""

    path: tuple[str, ...]
    is_parameter: bool

    def __call__(self, module: nn.Module) -> Tensor:
        found: Any = reduce(getattr, self.path, module)
        return found  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Constant:
    value: Tensor

    def __call__(self, module: nn.Module) -> Tensor:
        return self.value


def _key(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    leaves, spec = pytree.tree_flatten((args, kwargs))
    described = tuple(
        (tuple(each.shape), each.dtype, str(each.device)) if isinstance(each, Tensor) else each for each in leaves
    )
    first = next(module.parameters(), None)
    kind = (first.dtype, str(first.device)) if first is not None else None
    return module.training, kind, spec, described
