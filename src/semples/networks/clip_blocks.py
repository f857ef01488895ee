"""A transformer block of a frozen CLIP tower, with as few operations as it needs.

Weights that never change can be put together once: queries, keys and values come from one product, and QuickGELU,
x * sigmoid(1.702 x) = silu(1.702 x) / 1.702, leaves its two factors in the weights around it, so that one operation
is left of three forward and of five backward. The numbers are the library's, up to rounding.
"""

from __future__ import annotations

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation

QUICK_FACTOR = 1.702


class FrozenBlock(nn.Module):
    """What transformers' `CLIPEncoderLayer` computes, for weights that are never trained.

    qkv: (3C,C) and (3C,). `act` follows the first linear layer, whose weights hold QuickGELU's factor.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.heads: int = attention.num_heads
        self.scale: float = attention.scale
        self.norm1, self.norm2, self.proj = layer.layer_norm1, layer.layer_norm2, attention.out_proj
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.qkv_weight = _frozen(torch.cat([part.weight for part in parts]))
        self.qkv_bias = _frozen(torch.cat([part.bias for part in parts]))
        quick = isinstance(mlp.activation_fn, QuickGELUActivation)
        self.act = nn.SiLU() if quick else mlp.activation_fn
        factor = QUICK_FACTOR if quick else 1.0
        self.fc1_weight, self.fc1_bias = _frozen(mlp.fc1.weight * factor), _frozen(mlp.fc1.bias * factor)
        self.fc2_weight, self.fc2_bias = _frozen(mlp.fc2.weight / factor), _frozen(mlp.fc2.bias)

    @classmethod
    def of(cls, layer: Any) -> Self:
        """A layer of transformers' CLIP; one that is a `FrozenBlock` already is taken as it is."""
        return layer if isinstance(layer, cls) else cls(layer)

    def forward(self, hidden_BTC: Tensor, mask: None = None) -> Tensor:
        """Output (B,T,C) at every token, each of which looks at all."""
        qkv_BTX = F.linear(self.norm1(hidden_BTC), self.qkv_weight, self.qkv_bias)
        q, k, v = qkv_BTX.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self._rest(hidden_BTC, F.scaled_dot_product_attention(q, k, v, scale=self.scale))

    def at_first(self, hidden_BTC: Tensor) -> Tensor:
        """Output (B,C) at the first token alone, which looks at all."""
        normed_BTC = self.norm1(hidden_BTC)
        width = hidden_BTC.shape[2]
        q_B1C = F.linear(normed_BTC[:, :1], self.qkv_weight[:width], self.qkv_bias[:width])
        kv_BTX = F.linear(normed_BTC, self.qkv_weight[width:], self.qkv_bias[width:])
        k, v = kv_BTX.unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q = q_B1C.unflatten(2, (self.heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self._rest(hidden_BTC[:, :1], mixed).squeeze(1)

    def _rest(self, hidden_BTC: Tensor, mixed_BHTD: Tensor) -> Tensor:
        """All that follows the attention."""
        hidden_BTC = hidden_BTC + self.proj(mixed_BHTD.transpose(1, 2).flatten(2))
        inner_BTX = self.act(F.linear(self.norm2(hidden_BTC), self.fc1_weight, self.fc1_bias))
        return hidden_BTC + F.linear(inner_BTX, self.fc2_weight, self.fc2_bias)


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)
