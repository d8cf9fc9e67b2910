"""What a measured profile holds for: the same graph with the same shapes and numbers, on the same kind of machine."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from hydro.tuner.tracing import Trace

_VERSION = "3"
"""Of the profile's meaning: another one, and what was stored is measured again."""


def profile_key(
    trace: Trace, optimizer: str, max_lanes: int, bundle_steps: int, device: torch.device, rules: str
) -> str:
    """Gives a name that two profiles share only when one can stand for the other.

    Args:
        trace: The loss of one lane, in train mode.
        optimizer: How a lane steps: the class and its groups.
        max_lanes: Up to which fusion counts are measured.
        bundle_steps: In how many steps a compilation has to pay; 0: none is measured.
        device: Where.
        rules: Digest of the rules by which graphs are lowered.
    """
    machine = _machine(device)
    digest = hashlib.sha256()
    asked = (str(max_lanes), str(bundle_steps))
    for part in (_VERSION, torch.__version__, rules, machine, optimizer, *asked, *_graph_lines(trace)):
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {_processor()} with {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _graph_lines(trace: Trace) -> Iterator[str]:
    """One line for each node: what it does, to what, and what comes out; names of the user's do not count."""
    numbers = {node: index for index, node in enumerate(trace.graph.nodes)}
    for node in trace.graph.nodes:
        operands = pytree.tree_map(lambda leaf: _told(leaf, numbers), (node.args, node.kwargs))
        # Placeholders are told apart by their place alone.
        target = "" if node.op == "placeholder" else str(node.target)
        yield f"{node.op} {target} {operands} {' '.join(_shapes(node.meta.get('val')))}"


def _told(leaf: Any, numbers: dict[Node, int]) -> Any:
    return f"%{numbers[leaf]}" if isinstance(leaf, Node) else leaf


def _shapes(value: Any) -> Iterable[str]:
    leaves = (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor))
    return [f"{leaf.dtype}{list(leaf.shape)}{'!' if leaf.requires_grad else ''}" for leaf in leaves]
