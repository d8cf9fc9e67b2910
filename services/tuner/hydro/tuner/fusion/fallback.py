"""The tiers below a grouped rule: one op under torch.vmap, or once per lane."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Where = tuple[int, ...]
"""Positions of the per-lane tensors among the flattened arguments."""


def vmapped(op: Callable[..., Any], where: Where, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Calls `op` under torch.vmap over the lane axis of the arguments at `where`."""
    flat, spec = pytree.tree_flatten((args, dict(kwargs)))

    def call(*lane_tensors: Tensor) -> Any:
        given = list(flat)
        for position, tensor in zip(where, lane_tensors, strict=True):
            given[position] = tensor
        lane_args, lane_kwargs = pytree.tree_unflatten(given, spec)
        return op(*lane_args, **lane_kwargs)

    return torch.vmap(call)(*(flat[position] for position in where))


def unrolled(
    op: Callable[..., Any],
    where: Where,
    numbers: Where,
    lanes: int,
    generators: Sequence[torch.Generator] | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Calls `op` once per lane and stacks what it gives.

    Args:
        op: The traced model's op.
        where: Positions of the per-lane tensors among the flattened arguments.
        numbers: Positions of the per-lane numbers.
        lanes: How many lanes there are.
        generators: The lanes' random streams, for an op that draws; None when it does not or when there are none.
        args: Arguments, per-lane ones with the lane axis first.
        kwargs: Keyword arguments, likewise.
    """
    flat, spec = pytree.tree_flatten((args, dict(kwargs)))
    rows = {position: lane_rows(flat[position]) for position in where}
    outputs = []
    for lane in range(lanes):
        given = list(flat)
        for position in where:
            given[position] = rows[position][lane]
        for position in numbers:
            given[position] = flat[position][lane].item()
        lane_args, lane_kwargs = pytree.tree_unflatten(given, spec)
        with drawing_from(generators[lane] if generators is not None else None):
            outputs.append(op(*lane_args, **lane_kwargs))
    return pytree.tree_map(lambda *each: torch.stack(each) if isinstance(each[0], Tensor) else each[0], *outputs)


def lane_rows(stacked: Tensor) -> Sequence[Tensor]:
    """Gives each lane's tensor, in memory as it would lie for that model alone: kernels differ by where it begins.

    Taken apart at once, since the gradient of one row taken from a stack is as large as the stack.
    """
    rows = stacked.unbind()
    begin_alike = stacked.stride(0) * stacked.itemsize % 64 == 0 or stacked.numel() == len(stacked)
    return rows if begin_alike else [row.clone() for row in rows]


@contextmanager
def drawing_from(generator: torch.Generator | None) -> Iterator[None]:
    """Lets ops that take no generator draw from this one."""
    if generator is None:
        yield
        return
    default = _default_generator(generator.device)
    before = default.get_state()
    default.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(default.get_state())
        default.set_state(before)


def can_vmap(op: Callable[..., Any], where: Where, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether torch has a batching rule for this call, tried on two lanes of tensors without data."""
    flat, spec = pytree.tree_flatten((args, dict(kwargs)))
    meta = [
        torch.empty(leaf.shape, dtype=leaf.dtype, device="meta") if isinstance(leaf, Tensor) else leaf for leaf in flat
    ]
    for position in where:
        meta[position] = torch.stack([meta[position]] * 2)
    meta_args, meta_kwargs = pytree.tree_unflatten(meta, spec)
    try:
        with _batching_rules_alone(), torch.no_grad():
            vmapped(op, where, meta_args, meta_kwargs)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return False
    return True


@contextmanager
def _batching_rules_alone() -> Iterator[None]:
    """Has vmap refuse an op without a batching rule, for which it has a loop over slices of its own."""
    before = torch._C._functorch._is_vmap_fallback_enabled()  # type: ignore[attr-defined]
    torch._C._functorch._set_vmap_fallback_enabled(False)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch._C._functorch._set_vmap_fallback_enabled(before)  # type: ignore[attr-defined]


def _default_generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator
