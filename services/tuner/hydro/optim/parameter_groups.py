"""Parameters in the forms that torch's optimizers accept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

Parameters = Mapping[str, Tensor] | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]
"""Parameters [G, ...] by name, as torch's named pairs, without names (then "0", "1" ...), or in groups with options."""


def read_groups(parameters: Parameters) -> list[tuple[str, Tensor, dict[str, Any]]]:
    """Gives name, parameter and own options of each parameter, for every form torch accepts."""
    entries: list[Any] = list(parameters.items()) if isinstance(parameters, Mapping) else list(parameters)
    groups = entries if entries and isinstance(entries[0], dict) else [{"params": entries}]
    found: list[tuple[str, Tensor, dict[str, Any]]] = []
    for group in groups:
        options = {key: value for key, value in group.items() if key != "params"}
        members = group["params"]
        if isinstance(members, Tensor):
            members = [members]
        for member in members.items() if isinstance(members, Mapping) else members:
            name, parameter = member if isinstance(member, tuple) else (str(len(found)), member)
            found.append((name, parameter, options))
    if not found:
        raise ValueError("the optimizer got no parameters")
    lanes = len(found[0][1])
    for name, parameter, _ in found:
        if len(parameter) != lanes:
            raise ValueError(f"parameter {name} has {len(parameter)} lanes, the first one has {lanes}")
    return found
