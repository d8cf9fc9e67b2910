"""Fewer layers: the residual stacks of a model, cut, with their branches multiplied so that both depths train alike.

A stack is a list of layers, alike in type and shapes, each of which only adds to one stream: x + f(norm(x)), as pre-LN
transformers do. With L layers in the target and l in the surrogate every branch f is multiplied by L / l, so that all
of them together move the stream as far as the target's do. This is alpha = 1: with a smaller exponent, as depth-muP's
1/2, layers of more than one matrix stop learning features as the depth grows. A layer's gradients then go with the
multiplier, wanted updates do not; `Parametrization` scales rates and eps by that.

Source: CompleteP, arXiv:2505.01618, Table 1, alpha = 1 (TP VI, arXiv:2310.02244, for the multiplier), anchored at the
target.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.fx import Node

from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.tuner.tracing import NotTraceable, Trace

aten = torch.ops.aten

_ADDITIONS = (aten.add.Tensor, aten.add_.Tensor)
_NORMALIZATIONS = (aten.layer_norm.default, aten.rms_norm.default)


class NoResidualStack(InvalidArgument):
    """A model whose depth cannot be told: none of its lists of layers only adds to one normalized stream."""

    default_reason = "NO_RESIDUAL_STACK"

    def __init__(self, reasons: Sequence[str]) -> None:
        found = "; ".join(reasons) or "it has no list of layers that are alike"
        description = f"no stack of pre-LN residual layers is found: {found}; leave the depth at 1"
        super().__init__(f"depth: {description}")
        self.violations = (FieldViolation("depth", description),)


@dataclass(frozen=True, slots=True)
class Stack:
    """A list of layers that is cut."""

    name: str
    """Of the module that holds the layers."""
    target_layers: int
    layers: int
    """The surrogate's."""

    @property
    def multiplier(self) -> float:
        """Of every branch, and so of the gradients of every parameter in one."""
        return self.target_layers / self.layers

    def holds(self, parameter: str) -> bool:
        """The parameter, by its name in the model, is in a layer."""
        return parameter.startswith(f"{self.name}.")


@dataclass(frozen=True, slots=True)
class Branch:
    """One place where a layer adds to the stream."""

    addition: Node
    added: Node


def find_stacks(model: nn.Module, traced: Trace, depth: float) -> tuple[Stack, ...]:
    """The stacks of a model and how many of their layers are left; a single layer is left as it is.

    Raises:
        NoResidualStack: there are none.
    """
    found, reasons = [], []
    # An architecture of one layer has no list of several.
    for name, count in list(_lists_of_layers(model)) or _lists_of_layers(model, least=1):
        stack = Stack(name, count, max(1, math.floor(count * depth + 0.5)))
        try:
            residual_branches(traced, stack, stack.target_layers)
        except NotTraceable as error:
            reasons.append(str(error))
        else:
            found.append(stack)
    if not found:
        raise NoResidualStack(reasons)
    return tuple(found)


def are_of(stacks: Sequence[Stack], model: nn.Module) -> bool:
    """The stacks are all lists of layers that this model has, with as many layers: none is cut or left by mistake.

    Of a model that also has lists that cannot be cut, and of a single layer, this cannot be told without its graph.
    """
    return not stacks or dict(_lists_of_layers(model)) == {each.name: each.target_layers for each in stacks}


def cut(model: nn.Module, stacks: Sequence[Stack]) -> nn.Module:
    """A copy of the model with the first layers of each stack alone; the model itself where there are no stacks."""
    if not stacks:
        return model
    shallow = copy.deepcopy(model)
    for stack in stacks:
        *path, last = stack.name.split(".")
        holder: nn.Module = reduce(getattr, path, shallow)
        layers = getattr(holder, last)
        for name in list(dict(layers.named_children()))[stack.layers :]:
            delattr(layers, name)
    return shallow


def residual_branches(traced: Trace, stack: Stack, layers: int) -> list[Branch]:
    """What each of a stack's layers adds to the stream.

    Raises:
        NotTraceable: a layer does something else with the stream.
    """
    inside = _by_layer(traced, stack.name)
    if len(inside) != layers:
        raise NotTraceable(f"{stack.name}: {len(inside)} of {layers} layers compute something")
    branches: list[Branch] = []
    stream: Node | None = None
    for name, nodes in inside.items():
        entries = [stream] if stream is not None else _entries(nodes)
        followed = max((_follow(each, nodes) for each in entries), key=len, default=[])
        if not followed:
            raise NotTraceable(f"{stack.name}.{name} does not add to its input what it makes of it normalized")
        branches += followed
        stream = followed[-1].addition
    return branches


def _lists_of_layers(model: nn.Module, least: int = 2) -> Iterator[tuple[str, int]]:
    """Lists of so many layers alike in type and shapes, or more, and how many; none that lies within another."""
    taken: list[str] = []
    for name, module in model.named_modules():
        kinds = [_kind(each) for each in module.children()]
        is_list = isinstance(module, (nn.ModuleList, nn.Sequential)) and name != ""
        is_inside = any(name.startswith(f"{other}.") for other in taken)
        if is_list and not is_inside and len(kinds) >= least and len(set(kinds)) == 1 and kinds[0].shapes:
            taken.append(name)
            yield name, len(kinds)


@dataclass(frozen=True, slots=True)
class _Kind:
    layer: type[nn.Module]
    shapes: tuple[tuple[str, torch.Size], ...]


def _kind(layer: nn.Module) -> _Kind:
    return _Kind(type(layer), tuple((name, each.shape) for name, each in layer.named_parameters()))


def _by_layer(traced: Trace, name: str) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {}
    for node in traced.graph.nodes:
        path = _path(node)
        if path.startswith(f"{name}."):
            found.setdefault(path[len(name) + 1 :].split(".")[0], []).append(node)
    return found


def _path(node: Node) -> str:
    """The module that a call belongs to."""
    modules = list(dict(node.meta.get("nn_module_stack") or {}).values())
    return str(modules[-1][0]) if modules else ""


def _entries(nodes: Sequence[Node]) -> list[Node]:
    """What comes into a layer from outside of it."""
    inside = set(nodes)
    outside = dict.fromkeys(each for node in nodes for each in node.all_input_nodes if each not in inside)
    return [each for each in outside if isinstance(each.meta.get("val"), Tensor)]


def _follow(stream: Node, nodes: Sequence[Node]) -> list[Branch]:
    """The additions to a stream, one after the other; all else that a layer does with it is to normalize it."""
    inside, found = set(nodes), list[Branch]()
    while True:
        additions = [each for each in stream.users if each in inside and _adds(each, stream)]
        if len(additions) != 1:
            return found
        others = [each for each in stream.users if each in inside and each is not additions[0]]
        if not others or not all(_is_normalized(each, nodes) for each in others):
            return []
        addition = additions[0]
        found.append(Branch(addition, next(each for each in addition.all_input_nodes if each is not stream)))
        stream = addition


def _adds(node: Node, stream: Node) -> bool:
    one_and_other = node.all_input_nodes
    return (
        node.target in _ADDITIONS
        and len(one_and_other) == 2
        and "alpha" not in node.kwargs
        and all(each.meta["val"].shape == stream.meta["val"].shape for each in one_and_other)
    )


def _is_normalized(node: Node, nodes: Sequence[Node]) -> bool:
    """The call is a normalization, or of a module that is one written by hand: it divides by a root."""
    if node.target in _NORMALIZATIONS:
        return True
    return any(each.target is aten.rsqrt.default for each in nodes if _path(each) == _path(node))
