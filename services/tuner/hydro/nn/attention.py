"""Attention over lanes.

Legend: G lanes, N batch, L target and S source length, E width, H heads.
"""

from __future__ import annotations

from torch import Tensor, nn

from hydro.nn import functional
from hydro.nn.lane_module import LaneModule


class MultiheadAttention(LaneModule):
    """torch.nn.MultiheadAttention over lanes, in its `batch_first=True` form without dropout, bias_kv and zero_attn.

    It gives the output alone, as torch's does with `need_weights=False`.
    """

    twin_of = nn.MultiheadAttention

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Attends within each lane.

        Shape: query [G, N, L, E], key and value [G, N, S, ...]; gives [G, N, L, E].

        Args:
            query: What asks.
            key: What is matched.
            value: What is taken.
            attn_mask: Shared by lanes, [L, S]: as in torch.nn, True forbids; numbers are added.
            is_causal: Whether to look at the past alone.
        """
        self._require_supported()
        given = zip((query, key, value), self._projections(), strict=True)
        asked, matched, taken = (self._heads(each, *own) for each, own in given)
        mask = ~attn_mask if attn_mask is not None and not attn_mask.is_floating_point() else attn_mask
        y = functional.scaled_dot_product_attention(asked, matched, taken, mask, is_causal, None, False)
        merged = y.transpose(-3, -2).flatten(-2)
        own = dict(self.named_parameters())
        return functional.linear(merged, own["out_proj.weight"], own.get("out_proj.bias"))

    def _require_supported(self) -> None:
        wanted = {"batch_first": True, "dropout": 0.0, "bias_k": None, "add_zero_attn": False}
        for name, value in wanted.items():
            if getattr(self, name) != value:
                raise NotImplementedError(f"{name}={getattr(self, name)} has no form over lanes: give {value}")

    def _projections(self) -> list[tuple[Tensor, Tensor | None]]:
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3, 1)
        weights = (
            self.in_proj_weight.chunk(3, 1)
            if self._qkv_same_embed_dim
            else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        )
        return list(zip(weights, biases, strict=True))

    def _heads(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        projected = functional.linear(x, weight, bias)
        return projected.view(*x.shape[:-1], self.num_heads, -1).transpose(-3, -2)
