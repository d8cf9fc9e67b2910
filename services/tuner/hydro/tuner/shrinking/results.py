"""Which outputs of a graph are the model's results, and which are values on the way to them.

A model may give its caches, hidden states or a recurrent layer's last states beside its logits. Results keep their
size, since whatever is done with them outside the graph expects it; a value from which the model goes on to compute
another output is as wide as the model inside.
"""

from __future__ import annotations

import operator

from torch.fx import Graph, Node


def results(graph: Graph) -> list[Node]:
    """The outputs from which no other output is computed."""
    outputs = graph.output_node().all_input_nodes
    return [each for each in outputs if not _leads_on(each, set(outputs) - {each})]


def _leads_on(node: Node, others: set[Node]) -> bool:
    call = _call(node)
    reached = {call}
    waiting = [user for each in _values(call) for user in each.users]
    while waiting:
        user = waiting.pop()
        if user in reached or user.op == "output":
            continue
        reached.add(user)
        if user in others:
            return True
        waiting.extend(user.users)
    return False


def _call(node: Node) -> Node:
    """The call that computes a value, which may be one of several that it gives."""
    return node.args[0] if node.target is operator.getitem else node  # type: ignore[return-value]


def _values(call: Node) -> list[Node]:
    """The call's values: its users, where it gives several."""
    parts = [user for user in call.users if user.target is operator.getitem]
    return parts or [call]
