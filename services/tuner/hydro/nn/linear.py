"""Linear maps and tables over lanes.

Legend: G lanes, I input and O output features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hydro.nn import functional
from hydro.nn.lane_module import LaneModule


class Linear(LaneModule):
    """torch.nn.Linear over lanes.

    Shape: [G, ..., I] to [G, ..., O]. An input that lanes share (`share(x, lanes)`) is not copied.
    """

    twin_of = nn.Linear

    def forward(self, input: Tensor) -> Tensor:
        """Applies each lane's map to that lane's input."""
        return functional.linear(input, self.weight, self.bias)


class Bilinear(LaneModule):
    """torch.nn.Bilinear over lanes.

    Shape: [G, ..., I] and [G, ..., J] to [G, ..., O].
    """

    twin_of = nn.Bilinear

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Applies each lane's bilinear map."""
        output: Tensor = torch.einsum("g...i,goij,g...j->g...o", input1, self.weight, input2)
        if self.bias is None:
            return output
        bias: Tensor = self.bias.view(len(output), *(1,) * (output.ndim - 2), -1)
        return output + bias


class Embedding(LaneModule):
    """torch.nn.Embedding over lanes, without `max_norm`, `sparse` and `scale_grad_by_freq`.

    Shape: indices [G, ...] to [G, ..., D]; indices that lanes share may be given as `share(indices, lanes)`.
    """

    twin_of = nn.Embedding

    def forward(self, input: Tensor) -> Tensor:
        """Looks the entries up in each lane's table."""
        for name in ("max_norm", "sparse", "scale_grad_by_freq"):
            if getattr(self, name):
                raise NotImplementedError(f"Embedding with {name}={getattr(self, name)} has no form over lanes")
        rows: Tensor = functional.embedding(input, self.weight, shared_indices=False)
        if self.padding_idx is None:
            return rows
        # The padding's row is read, but gets no gradient.
        return rows.where((input != self.padding_idx).unsqueeze(-1), rows.detach())
