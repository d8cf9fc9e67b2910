"""Tensors of many models with the lane axis first, addressed by lane.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hydro.tuner.tracing import tensor_aliases


class LaneTensors:
    """Parameters and buffers [G, ...] of models of one class, by the models' own names behind a prefix.

    Parameters are leaves that keep their identity when lanes leave or join, as the grouped optimizers need it. Tied
    tensors are stacked once, under their first name.
    """

    def __init__(self, models: Sequence[nn.Module], prefix: str = "", *, shares_frozen: bool = False) -> None:
        """Stacks copies; the models stay as they are.

        Args:
            models: One at least. To start without lanes, stack one and `take([])`.
            prefix: Before each name in `parameters` and `buffers`, for programs that hold the model inside something.
            shares_frozen: Whether to keep parameters that are frozen and equal in all models once, in `shared`.

        Raises:
            ValueError: The models have other tensors.
        """
        first = models[0]
        self._prefix = prefix
        self._aliases = tensor_aliases(first)
        self._stored = [name for name, value in first.state_dict().items() if isinstance(value, Tensor)]
        rows = [lane_tensors(model) for model in models]
        _require_same_tensors(rows)
        trained = {name: parameter.requires_grad for name, parameter in first.named_parameters()}
        frozen = _equal_frozen(models, rows) if shares_frozen else []
        self.shared: dict[str, Tensor] = {prefix + name: rows[0][name].clone() for name in frozen}
        self.parameters: dict[str, Tensor] = {
            prefix + name: nn.Parameter(torch.stack([row[name] for row in rows]), requires_grad=requires_grad)
            for name, requires_grad in trained.items()
            if name not in frozen
        }
        self.buffers = {
            prefix + name: torch.stack([row[name] for row in rows]) for name in rows[0] if name not in trained
        }

    def __len__(self) -> int:
        """The number of lanes."""
        return next((len(tensor) for tensor in (*self.parameters.values(), *self.buffers.values())), 0)

    def state_dict(self, lane: int) -> dict[str, Tensor]:
        """Gives copies of a lane's tensors, as the state_dict that its unmodified model loads."""
        stacked = {**self.parameters, **self.buffers}
        own = {name: tensor.detach()[lane] for name, tensor in stacked.items()} | self.shared
        return {name: own[self._prefix + self._aliases[name]].clone() for name in self._stored}

    def shared_names(self) -> list[str]:
        """Gives every name of the parameters that lanes share, those of tied ones too."""
        return [self._prefix + name for name, first in self._aliases.items() if self._prefix + first in self.shared]

    def unshare_unlike(self, row: Mapping[str, Tensor]) -> bool:
        """Stacks what lanes shared until the last one joined with other values; says whether there was any."""
        unlike = [name for name, tensor in self.shared.items() if not self._has_equal(row, name, tensor)]
        for name in unlike:
            tensor = self.shared.pop(name)
            own = _row(row, name.removeprefix(self._prefix), tensor[None])
            stacked = torch.cat([tensor.expand(len(self) - 1, *tensor.shape), own])
            self.parameters[name] = nn.Parameter(stacked, requires_grad=False)
        return bool(unlike)

    def _has_equal(self, row: Mapping[str, Tensor], name: str, tensor: Tensor) -> bool:
        own = row.get(name.removeprefix(self._prefix), tensor)
        return own is tensor or (own.shape == tensor.shape and torch.equal(own.to(tensor), tensor))

    def rows(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """Gives views of some lanes' tensors by the models' own names, as `append` takes them in."""
        stacked = {**self.parameters, **self.buffers}
        return [
            {name.removeprefix(self._prefix): tensor.detach()[lane] for name, tensor in stacked.items()}
            for lane in indices
        ]

    def parameters_of(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Gives some lanes' parameters; gradients flow back to the stack."""
        return {name: stacked[list(indices)] for name, stacked in self.parameters.items()}

    def buffers_of(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Gives copies of some lanes' buffers."""
        return {name: stacked[list(indices)] for name, stacked in self.buffers.items()}

    def put_buffers(self, indices: Sequence[int], buffers: Mapping[str, Tensor]) -> None:
        """Writes some lanes' buffers."""
        for name, rows in buffers.items():
            self.buffers[name][list(indices)] = rows

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order, and forgets gradients. One that comes again is a copy."""
        kept = list(indices)
        for parameter in self.parameters.values():
            _replace_data(parameter, parameter.data[kept])
        self.buffers = self.buffers_of(kept)

    def append(self, rows: Sequence[Mapping[str, Tensor]]) -> None:
        """Adds lanes at the end, each a model's tensors by name (a state_dict, or `lane_tensors`); forgets gradients.

        Raises:
            ValueError: A tensor is missing or has another shape.
        """
        for name, tensor in self.shared.items():
            for row in rows:
                # What lanes share may be left out, but fits where it is given.
                _row({name.removeprefix(self._prefix): tensor, **row}, name.removeprefix(self._prefix), tensor[None])
        added = {
            name: [_row(row, name.removeprefix(self._prefix), stacked) for row in rows]
            for name, stacked in {**self.parameters, **self.buffers}.items()
        }
        for name, parameter in self.parameters.items():
            _replace_data(parameter, torch.cat([parameter.data, *added[name]]))
        self.buffers = {name: torch.cat([buffer, *added[name]]) for name, buffer in self.buffers.items()}


def lane_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Gives a model's parameters and buffers by name, detached, tied ones once."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach() for name, tensor in named}


def _replace_data(parameter: Tensor, data: Tensor) -> None:
    """Gives a leaf other data of another shape, and forgets its gradient.

    By way of another type, which has torch forget the node that gathers gradients of the old shape: it would live on
    as long as anyone holds a loss of before.
    """
    parameter.grad = None
    other = torch.float16 if data.dtype is torch.bfloat16 else torch.bfloat16
    parameter.data = torch.empty(0, dtype=other, device=data.device)
    parameter.data = data


def _equal_frozen(models: Sequence[nn.Module], rows: Sequence[Mapping[str, Tensor]]) -> list[str]:
    flags = [{name: parameter.requires_grad for name, parameter in model.named_parameters()} for model in models]
    return [
        name
        for name in flags[0]
        if not any(trained[name] for trained in flags) and all(torch.equal(row[name], rows[0][name]) for row in rows)
    ]


def _require_same_tensors(rows: Sequence[Mapping[str, Tensor]]) -> None:
    first = [(name, tensor.shape, tensor.dtype) for name, tensor in rows[0].items()]
    for lane, row in enumerate(rows):
        mine = [(name, tensor.shape, tensor.dtype) for name, tensor in row.items()]
        for one, other in zip(first, mine, strict=False):
            if one != other:
                raise ValueError(f"model {lane} has {other} where model 0 has {one}: give models of one structure")
        if len(mine) != len(first):
            raise ValueError(f"model {lane} has {len(mine)} tensors, model 0 has {len(first)}")


def _row(row: Mapping[str, Tensor], name: str, stacked: Tensor) -> Tensor:
    if name not in row:
        raise ValueError(f"the new lane has no tensor {name}")
    tensor = row[name].detach()
    if tensor.shape != stacked.shape[1:]:
        raise ValueError(f"the new lane's {name} has shape {tuple(tensor.shape)}, not {tuple(stacked.shape[1:])}")
    return tensor.to(stacked)[None]
