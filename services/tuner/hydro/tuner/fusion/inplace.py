"""In-place ops of a traced graph: the same op out of place, where that means the same."""

from __future__ import annotations

import torch
from torch._ops import OpOverload
from torch.fx import Node

from hydro.tuner.fusion.structure import NotFusible
from hydro.tuner.tracing import location

aten = torch.ops.aten


def functional_form(node: Node, op: OpOverload) -> OpOverload:
    """Gives the op that computes what an in-place op leaves behind.

    Raises:
        NotFusible: There is none.
    """
    namespace, name = op._schema.name.split("::")
    packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
    overload = getattr(packet, _FUNCTIONAL_OVERLOADS.get(op, op._overloadname), None)
    if not isinstance(overload, OpOverload) or overload._schema.is_mutable:
        raise NotFusible(f"{op} at {location(node) or 'an unknown line'} works in place only")
    return overload


def require_no_later_alias(node: Node, changed: Node) -> None:
    """Refuses an in-place change that would be seen through another view.

    Raises:
        NotFusible: Another view of the changed tensor is read later.
    """
    order = {each: index for index, each in enumerate(node.graph.nodes)}
    for alias in _aliases(changed):
        if any(order[user] > order[node] for user in alias.users):
            raise NotFusible(
                f"{node.target} at {location(node) or 'an unknown line'} changes a tensor that another view shows"
            )


def _aliases(changed: Node) -> set[Node]:
    """Gives the other views of a tensor: what it is a view of, and what is a view of it."""
    found, waiting = {changed}, [changed]
    while waiting:
        node = waiting.pop()
        related = [user for user in node.users if _is_view(user) and node in user.all_input_nodes[:1]]
        related += node.all_input_nodes[:1] if _is_view(node) else []
        waiting += [each for each in related if each not in found]
        found.update(related)
    return found - {changed}


def _is_view(node: Node) -> bool:
    if not isinstance(node.target, OpOverload):
        return node.op == "call_function"
    schema = node.target._schema
    return not schema.is_mutable and any(returned.alias_info is not None for returned in schema.returns)


_FUNCTIONAL_OVERLOADS = {aten.bernoulli_.float: "p", aten.copy_.default: "default"}
