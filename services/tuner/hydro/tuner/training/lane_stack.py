"""The tensors of a bundle's lanes, stacked: one row of each is one trial's model.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hydro.tuner.tracing import tensor_aliases
from hydro.tuner.training.checkpoint import CheckpointInvalid

PREFIX = "model."
"""Before each name of the model's in the programs that hold the loss with the model inside it."""


class LaneStack:
    """Parameters and buffers [G, ...] by their names in the programs.

    Parameters are leaves that keep their identity when lanes come and go, as the grouped optimizers need it. Tied
    tensors are stacked once, under their first name.
    """

    def __init__(self, template: nn.Module) -> None:
        """Starts without lanes, in the form of a model."""
        self.parameters = {
            PREFIX + name: nn.Parameter(each.new_empty(0, *each.shape), requires_grad=each.requires_grad)
            for name, each in template.named_parameters()
        }
        self.buffers = {PREFIX + name: each.new_empty(0, *each.shape) for name, each in template.named_buffers()}
        self._aliases = tensor_aliases(template)
        self._stored = [name for name, value in template.state_dict().items() if isinstance(value, Tensor)]

    @torch.no_grad()
    def append(self, models: Sequence[nn.Module]) -> None:
        """Adds the tensors of models as the last lanes."""
        rows: list[dict[str, Tensor]] = [dict([*model.named_parameters(), *model.named_buffers()]) for model in models]
        for name, stacked in self.parameters.items():
            stacked.grad, stacked.data = None, torch.cat([stacked.data, _stacked(rows, name)])
        for name, buffer in self.buffers.items():
            self.buffers[name] = torch.cat([buffer, _stacked(rows, name)])

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""
        for stacked in self.parameters.values():
            stacked.grad, stacked.data = None, stacked.data[list(indices)]
        self.buffers = self.buffers_of(indices)

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

    def state_dict(self, lane: int) -> dict[str, Tensor]:
        """Gives the lane as a state_dict of the user's model, tied names included."""
        stacked: dict[str, Tensor] = {**self.parameters, **self.buffers}
        return {name: stacked[PREFIX + self._aliases[name]].detach()[lane] for name in self._stored}


def _stacked(rows: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    return torch.stack([row[name.removeprefix(PREFIX)] for row in rows])


def load_model(model: nn.Module, state: Mapping[str, Tensor], trial: str) -> None:
    """Fills a model from a checkpoint.

    Raises:
        CheckpointInvalid: It is another model's.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointInvalid(f"{trial}: the checkpoint does not fit the model: {error}") from error
