"""The emitted graph with places between its ops at which a run can wait, in forward and in backward."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

from torch import Tensor
from torch.fx import GraphModule

PLACES: Final = 32
"""At most so many, spread evenly: each costs a few microseconds."""

_KEY: Final = "hydro.pausing"
Pause = Callable[[], None]


def pausing(module: GraphModule) -> GraphModule:
    """Gives the graph that takes one more argument, called between its ops; made once for each module.

    What is computed is the same, op by op. A backward waits before the ops whose forward a pause followed: by a hook of
    the tensor's own node in the autograd graph, which costs a tenth of what a module's backward hook does.
    """
    if _KEY not in module.meta:
        # Tensors of the module are shared with it, whatever they are replaced by later.
        module.meta[_KEY] = _with_places(module)
    made: GraphModule = module.meta[_KEY]
    return made


def _with_places(module: GraphModule) -> GraphModule:
    graph = copy.deepcopy(module.graph)
    calls = [node for node in graph.nodes if node.op == "call_function"]
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    with graph.inserting_after(placeholders[-1]):
        pause = graph.placeholder("pause")
    stride = max(1, -(-len(calls) // PLACES))
    for node in calls[stride - 1 : -1 : stride]:
        with graph.inserting_after(node):
            graph.call_function(wait_here, (node, pause))
    return GraphModule(module, graph)


def wait_here(result: Any, pause: Pause) -> None:
    """Waits after an op, and has its backward wait before its own."""
    if isinstance(result, Tensor) and result.grad_fn is not None:
        result.grad_fn.register_prehook(lambda _: pause())
    pause()
